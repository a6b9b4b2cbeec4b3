"""Every format, one object each: whatever depends on the format asks here, and nowhere else are they listed.

The contracts, the client and the command line repeat the ids; a test compares them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bloomery_vision.formats.coco import detect_coco, read_coco, read_coco_labels
from bloomery_vision.formats.images_only import detect_images, read_images
from bloomery_vision.formats.model import ExportChunk, ExportRow, Format, FormatGuess, ImportItem, LabelSpec, YoloTask
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.voc import detect_voc, read_voc, read_voc_labels
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.formats.write_voc import write_voc
from bloomery_vision.formats.write_yolo import write_yolo
from bloomery_vision.formats.yolo import detect_yolo, read_yolo, read_yolo_labels

Writer = Callable[[Iterable[ExportRow], Sequence[str], YoloTask], Iterator[ExportChunk]]
"""Turns rows, read once, into label files, given the labels in order and whether boxes or outlines are wanted."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One format.

    `layout` says for people what its files look like. `detect` answers with None where a source has no such files.
    `labels` are those that files name or use; only where `ordered` they name them in an order of their own, so that
    asking before reading is worth it. Nothing is written in a format without `write`.
    """

    id: Format
    layout: str
    detect: Callable[[Source], FormatGuess | None]
    read: Callable[[Source], Iterator[ImportItem]]
    labels: Callable[[Source], tuple[LabelSpec, ...]]
    ordered: bool = True
    write: Writer | None = None


FORMATS: Mapping[Format, FileFormat] = {
    one.id: one
    for one in (
        FileFormat(
            Format.VOC,
            "Pascal VOC is *.xml with <annotation>",
            detect_voc,
            read_voc,
            read_voc_labels,
            ordered=False,
            write=lambda rows, _labels, _task: write_voc(rows),
        ),
        FileFormat(
            Format.COCO,
            "COCO is *.json with images, annotations and categories",
            detect_coco,
            read_coco,
            read_coco_labels,
            write=lambda rows, labels, _task: write_coco(rows, labels),
        ),
        FileFormat(
            Format.YOLO,
            "YOLO is images/ with labels/*.txt and data.yaml or classes.txt, or <split>/<label>/ folders of images",
            detect_yolo,
            read_yolo,
            read_yolo_labels,
            write=lambda rows, labels, task: write_yolo(rows, labels, task=task),
        ),
        FileFormat(Format.IMAGES, "images alone are taken as they are", detect_images, read_images, lambda _source: ()),
    )
}
