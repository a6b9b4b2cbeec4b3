"""Recognises the annotation format of a folder, and reads it."""

import re
from collections.abc import Iterator

from bloomery_vision.formats.coco import coco_files, read_coco, read_coco_labels
from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.model import Format, FormatError, FormatGuess, ImportItem, LabelSpec
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.voc import is_xml, read_voc, read_voc_labels, split_files
from bloomery_vision.formats.yolo import read_yolo, read_yolo_labels
from bloomery_vision.formats.yolo_layout import find_config, folder_class, label_files

_READERS = {Format.VOC: read_voc, Format.COCO: read_coco, Format.YOLO: read_yolo}
_LABEL_READERS = {Format.VOC: read_voc_labels, Format.COCO: read_coco_labels, Format.YOLO: read_yolo_labels}
_LAYOUTS = (
    "Pascal VOC is *.xml with <annotation>; COCO is *.json with images, annotations and categories; YOLO is images/ "
    "with labels/*.txt and data.yaml or classes.txt, or <split>/<label>/ folders of images"
)
_VOC_ROOT = re.compile(rb"<annotation[\s>]")
_HEAD = 4096


def detect(source: Source) -> FormatGuess:
    """The one format that the files of a source are in, and which of them matter.

    Raises:
        FormatError: UNKNOWN_FORMAT; AMBIGUOUS_FORMAT where the files fit several.
    """
    images = tuple(filter(is_image, source.names()))
    guesses = [guess for guess in (_voc(source, images), _coco(source, images), _yolo(source, images)) if guess]
    if not guesses:
        raise FormatError("UNKNOWN_FORMAT", f"no annotations found beside {len(images)} images", _LAYOUTS)
    if len(guesses) > 1:
        why = "; ".join(f"{guess.format}: {guess.why}" for guess in guesses)
        hint = "name the format, on the command line by `--format`"
        raise FormatError("AMBIGUOUS_FORMAT", f"the files fit several formats ({why})", hint)
    return guesses[0]


def read(source: Source, file_format: Format) -> Iterator[ImportItem]:
    """What the files of a format say, image by image; a broken file costs its own items only.

    Raises:
        FormatError: before the first item, where the files cannot be read at all.
    """
    return _READERS[file_format](source)


def read_labels(source: Source, file_format: Format) -> tuple[LabelSpec, ...]:
    """The labels that the files name or use, each once.

    Raises:
        FormatError: where the file that names them cannot be used.
    """
    return _LABEL_READERS[file_format](source)


def _voc(source: Source, images: tuple[str, ...]) -> FormatGuess | None:
    files = [name for name in source.names() if is_xml(name)]
    if not any(_VOC_ROOT.search(_head(source, name)) for name in files[:20]):
        return None
    lists = split_files(source.names())
    why = f"{len(files)} XML files with <annotation>" + (f", {len(lists)} split lists" if lists else "")
    return FormatGuess(Format.VOC, why, (*files, *lists), images)


def _coco(source: Source, images: tuple[str, ...]) -> FormatGuess | None:
    files = coco_files(source)
    if not files:
        return None
    return FormatGuess(Format.COCO, f"{', '.join(files)} list images and annotations", tuple(files), images)


def _yolo(source: Source, images: tuple[str, ...]) -> FormatGuess | None:
    labels = label_files(source.names())
    config = find_config(source)
    if labels:
        why = f"{len(labels)} label files" + (f" and {config}" if config else "")
        others = [name for name in source.names() if name.lower().endswith((".txt", ".yaml", ".yml", ".names"))]
        return FormatGuess(Format.YOLO, why, tuple(others), images)
    classes = {label for name in images if (label := folder_class(name))}
    if not classes:
        return None
    return FormatGuess(Format.YOLO, f"images in folders of {len(classes)} classes", (), images)


def _head(source: Source, name: str) -> bytes:
    with source.open(name) as stream:
        return stream.read(_HEAD)
