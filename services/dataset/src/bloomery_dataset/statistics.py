"""Counts of a version, image by image."""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence

from bloomery_dataset.model import SplitCounts, Statistics
from bloomery_dataset.selection import Selection
from bloomery_dataset.splits import PARTS
from bloomery_vision.manifest import ManifestRow

_COPY = re.compile(r"\.rf\.[0-9a-f]{32}\.")
"""What Roboflow puts into the names of the changed copies that it makes of one image."""


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
        self._relative = array("f")
        self._copies: defaultdict[str, Counter[str]] = defaultdict(Counter)

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
        self._measure(row)
        low_width, high_width, low_height, high_height = self._sides or (row.width, row.width, row.height, row.height)
        self._sides = (
            min(low_width, row.width),
            max(high_width, row.width),
            min(low_height, row.height),
            max(high_height, row.height),
        )

    def _measure(self, row: ManifestRow) -> None:
        boxes = (shape.geometry.bounds for shape in row.shapes if not shape.crowd)
        self._relative.extend(min(box.width, box.height) / max(row.width, row.height) for box in boxes if box)
        if copied := _COPY.search(row.original_name):
            self._copies[row.original_name[: copied.start()]][row.split] += 1

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
            relative_sides=_deciles(self._relative),
            copies_apart=sum(parts.total() for parts in self._copies.values() if len(parts) > 1),
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


def _deciles(values: Sequence[float]) -> tuple[float, ...]:
    """The least, the greatest, and nine between them that have as many values below; none of none."""
    if not values:
        return ()
    ordered = sorted(values)
    return tuple(ordered[tenth * (len(ordered) - 1) // 10] for tenth in range(11))
