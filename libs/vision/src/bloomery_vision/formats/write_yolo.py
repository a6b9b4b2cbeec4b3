"""Writes YOLO label files in Ultralytics' layout."""

from collections.abc import Iterable, Iterator, Sequence

import yaml

from bloomery_vision.formats.export import Notes, Stems, placed
from bloomery_vision.formats.model import ExportChunk, ExportRow, YoloTask
from bloomery_vision.formats.outlines import ring_of, single_ring
from bloomery_vision.geometry import Box, Mask, Polygon, Ring, Shape

_NUMBER = " %.10g"


def write_yolo(
    rows: Iterable[ExportRow],
    labels: Sequence[str],
    *,
    task: YoloTask,
    notes: Notes | None = None,
) -> Iterator[ExportChunk]:
    """Label files, one for each row (empty where there is nothing), and data.yaml at last.

    The images belong at `image_path(row)`. data.yaml has no `path`, so it counts from its own folder, and names only
    the splits that have rows.

    Args:
        rows: read once.
        labels: by class number; shapes of other labels are left out.
        task: DETECT writes the box around each shape, SEGMENT its outline, which a box has as its four corners.
        notes: counts shapes that are not as they were, under all that is true of them: "crowd left out", "tag left
            out", "label left out", "mask without a pixel left out", "attributes left out", "outline as box", "mask as
            outline", "parts joined by bridges", "holes opened by bridges".

    Raises:
        FormatError: BAD_NAME, DUPLICATE_NAME.
    """
    notes = Notes() if notes is None else notes
    numbers = {label: number for number, label in enumerate(labels)}
    stems, splits = Stems(), set[str]()
    for row in rows:
        stem = stems.take(row)
        splits.add(row.split)
        lines = _lines(row, numbers, task, notes)
        yield ExportChunk(f"labels/{row.split}/{stem}.txt", "".join(lines).encode())
    yield ExportChunk("data.yaml", _config(splits, labels))


def _config(splits: set[str], labels: Sequence[str]) -> bytes:
    folders = {split: f"images/{split}" for split in ("train", "val", "test") if split in splits}
    content = folders | {"nc": len(labels), "names": dict(enumerate(labels))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, encoding="utf-8")


def _lines(row: ExportRow, numbers: dict[str, int], task: YoloTask, notes: Notes) -> Iterator[str]:
    for shape in placed(row.shapes, notes):
        number = numbers.get(shape.label)
        if number is None:
            notes["label left out"] += 1
            continue
        values = _box(shape, row, notes) if task is YoloTask.DETECT else _ring(shape, row, notes)
        if values:
            if shape.attributes:
                notes["attributes left out"] += 1
            yield f"{number}{_NUMBER * len(values)}\n" % (*values,)


def _box(shape: Shape, row: ExportRow, notes: Notes) -> list[float]:
    box = shape.geometry.bounds
    if box is None:
        return []
    if not isinstance(shape.geometry, Box):
        notes["outline as box"] += 1
    centre_x, centre_y = box.x + box.width / 2, box.y + box.height / 2
    return [centre_x / row.width, centre_y / row.height, box.width / row.width, box.height / row.height]


def _ring(shape: Shape, row: ExportRow, notes: Notes) -> list[float]:
    ring: Ring = ()
    match shape.geometry:
        case Polygon() as polygon:
            ring = single_ring(polygon)
            notes["parts joined by bridges"] += bool(polygon.parts)
        case Box() as box:
            (ring,) = box.rings
        case Mask() as mask:
            ring = _outline(mask, notes)
    if len(ring) == 3:
        # Six numbers are also a box with a score and a track; a point that is there twice changes nothing.
        ring = (*ring, ring[0])
    return [value for x, y in ring for value in (x / row.width, y / row.height)]


def _outline(mask: Mask, notes: Notes) -> Ring:
    outline = ring_of(mask)
    notes["mask as outline" if outline.parts else "mask without a pixel left out"] += 1
    notes["parts joined by bridges"] += outline.parts > 1
    notes["holes opened by bridges"] += outline.holes > 0
    return outline.ring
