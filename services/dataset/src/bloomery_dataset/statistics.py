"""Counts of a version, image by image."""

from collections import Counter

from bloomery_dataset.model import SplitCounts, Statistics
from bloomery_dataset.selection import Selection
from bloomery_dataset.splits import PARTS
from bloomery_vision.manifest import ManifestRow


class Tally:
    """Counts rows as they are written; crowds are counted by themselves."""

    def __init__(self) -> None:
        self._images: Counter[str] = Counter()
        self._empty: Counter[str] = Counter()
        self._shapes: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self._with: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self._crowds: Counter[str] = Counter()
        self._sides: tuple[int, ...] = ()
        self._bytes = 0

    @property
    def image_count(self) -> int:
        """Images so far."""
        return self._images.total()

    def add(self, row: ManifestRow) -> None:
        """Count one image."""
        counts = Counter(shape.label for shape in row.shapes if not shape.crowd)
        self._images[row.split] += 1
        self._empty[row.split] += not row.shapes
        self._shapes[row.split].update(counts)
        self._crowds[row.split] += sum(shape.crowd for shape in row.shapes)
        self._with[row.split].update(counts.keys())
        self._bytes += row.size_bytes
        low_width, high_width, low_height, high_height = self._sides or (row.width, row.width, row.height, row.height)
        self._sides = (
            min(low_width, row.width),
            max(high_width, row.width),
            min(low_height, row.height),
            max(high_height, row.height),
        )

    def statistics(self, selection: Selection, *, unassigned_count: int) -> Statistics:
        """All counts, with those of what the selection left out and changed."""
        return Statistics(
            splits=tuple(self._part(part) for part in PARTS),
            image_sides=self._sides,
            total_bytes=self._bytes,
            unassigned_count=unassigned_count,
            skipped_shapes=dict(selection.skipped_shapes),
            skipped_images=dict(selection.skipped_images),
            adjusted_shapes=dict(selection.adjusted_shapes),
            source_image_count=selection.images,
            source_shape_count=selection.shapes,
        )

    def _part(self, part: str) -> SplitCounts:
        return SplitCounts(
            split=part,
            image_count=self._images[part],
            empty_count=self._empty[part],
            shapes=dict(self._shapes[part]),
            images=dict(self._with[part]),
            crowd_count=self._crowds[part],
        )
