"""The values that pass between annotation files and the rest."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from bloomery_vision.findings import Finding
from bloomery_vision.geometry import Shape

Split = Literal["train", "val", "test"]


class Format(StrEnum):
    """The families of annotation files, and images without any."""

    VOC = "voc"
    COCO = "coco"
    YOLO = "yolo"
    IMAGES = "images"


class YoloTask(StrEnum):
    """What a YOLO label line holds: a box or an outline."""

    DETECT = "detect"
    SEGMENT = "segment"


class FormatError(ValueError):
    """Files that cannot be read, or rows that cannot be written, as a whole."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


@dataclass(frozen=True, slots=True)
class LabelSpec:
    """A label that files name, with a colour (`#rrggbb`) to draw it in.

    `source_id` is what the files know it by, a COCO id or a YOLO class number, and `supercategory` is COCO's; both are
    empty where the files do not say.
    """

    name: str
    color: str
    source_id: str = ""
    supercategory: str = ""


@dataclass(frozen=True, slots=True)
class ImportItem:
    """What the files say about one image.

    `image_path` is its name in the source, or the name that the files give it where there is no such image. Its size is
    the real one; None where the image is missing or unreadable. `annotated` is False where no annotation was found or
    none of it could be used, which differs from an annotation that says "nothing here". A `failed` item cannot be
    imported at all; `problems` say why. Otherwise each error among them is about a shape that was left out.

    `source_name` is the image's name in the label file, `source_id` its id there (COCO), and `shape_ids` are those of
    the shapes, in their order; empty where the file gives none.
    """

    image_path: str
    width: int | None = None
    height: int | None = None
    shapes: tuple[Shape, ...] = ()
    split: Split | None = None
    problems: tuple[Finding, ...] = ()
    annotation_path: str | None = None
    annotated: bool = True
    failed: bool = False
    source_name: str = ""
    source_id: str = ""
    shape_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One image to write, with its shapes in pixels of the oriented image of `width` x `height`.

    `file_name` is a relative path. `original_name` is what the image was called where it came from, `source_name` and
    `source_id` what its label file called it; all may be empty.
    """

    file_name: str
    width: int
    height: int
    split: str
    shapes: tuple[Shape, ...]
    asset: str = ""
    digest: str = ""
    original_name: str = ""
    source_name: str = ""
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class ExportChunk:
    """Bytes to append to the file at `path`, relative to the export's root.

    A path may come several times, one after another.
    """

    path: str
    data: bytes
