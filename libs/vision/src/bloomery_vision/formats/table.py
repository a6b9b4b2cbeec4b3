"""Every format, one object each: whatever depends on the format asks here, and nowhere else are they listed.

The contracts, the client and the command line repeat the ids; a test compares them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.coco import read_coco
from bloomery_vision.formats.coco_claim import claim_coco
from bloomery_vision.formats.export import Notes
from bloomery_vision.formats.images_only import claim_images, read_images
from bloomery_vision.formats.model import ExportChunk, ExportRow, Format, ImportItem, LabelSpec, YoloTask
from bloomery_vision.formats.plan import Plan
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.voc import read_voc
from bloomery_vision.formats.voc_claim import claim_voc
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.formats.write_yolo import write_yolo
from bloomery_vision.formats.yolo import read_yolo
from bloomery_vision.formats.yolo_claim import claim_yolo

Writer = Callable[[Iterable[ExportRow], Sequence[LabelSpec], YoloTask, Notes], Iterator[ExportChunk]]
"""Turns rows, read once, into label files, given the labels in order and whether boxes or outlines are wanted.

The notes count what the format cannot hold.
"""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One format.

    `layout` says for people what its files look like. `claim` says what of a folder is of the format, None for nothing;
    `read` reads what a plan says of some of its images. Nothing is written in a format without `write`.
    """

    id: Format
    layout: str
    claim: Callable[[Source, Tree], Claim | None]
    read: Callable[[Source, Plan, Iterable[str]], Iterator[ImportItem]]
    write: Writer | None = None


FORMATS: Mapping[Format, FileFormat] = {
    one.id: one
    for one in (
        FileFormat(Format.VOC, "Pascal VOC is *.xml with <annotation>", claim_voc, read_voc),
        FileFormat(
            Format.COCO,
            "COCO is *.json with images, annotations and categories",
            claim_coco,
            read_coco,
            write=lambda rows, labels, _task, notes: write_coco(rows, labels, notes=notes),
        ),
        FileFormat(
            Format.YOLO,
            "YOLO is images/ with labels/*.txt and data.yaml or classes.txt, or <split>/<label>/ folders of images",
            claim_yolo,
            read_yolo,
            write=lambda rows, labels, task, notes: write_yolo(
                rows, [label.name for label in labels], task=task, notes=notes
            ),
        ),
        FileFormat(Format.IMAGES, "images alone are taken as they are", claim_images, read_images),
    )
}
