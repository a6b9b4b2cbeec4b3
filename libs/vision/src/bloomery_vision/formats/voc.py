"""Reads Pascal VOC: one XML file an image, and lists of names for the splits.

VOC counts pixels from 1 and includes both corners (VOC2012 development kit, section "Annotation guidelines"; the real
files reach from 1 to the image's width), so the box from xmin to xmax spans xmin - 1 to xmax here. A box of one pixel,
xmin = xmax, is thus legal, and comes with a warning.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException, ElementTree

from bloomery_vision.colors import color
from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats.cleaning import (
    Parsed,
    as_finding,
    failed,
    finish,
    locate,
    read_small,
    unannotated,
)
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex, is_image, split_of, split_word
from bloomery_vision.formats.model import Format, FormatError, FormatGuess, ImportItem, LabelSpec, Split
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.geometry import Box, Shape

Splits = Mapping[str, frozenset[Split]]
"""The splits that the lists put each stem in."""

_PRECEDENCE: tuple[Split, ...] = ("train", "val", "test")
"""An image in several lists belongs to the first of these, so that nothing is tested that was trained on."""

ATTRIBUTES = ("difficult", "truncated", "occluded", "pose")
"""What an object may say beside its name and box."""

_ROOT = re.compile(rb"<annotation[\s>]")
_HEAD = 4096
_LOOKED_AT = 20


def detect_voc(source: Source) -> FormatGuess | None:
    """XML files with <annotation>, and the lists of names beside them."""
    files = [name for name in source.names() if is_xml(name)]
    if not any(_ROOT.search(_head(source, name)) for name in files[:_LOOKED_AT]):
        return None
    lists = split_files(source.names())
    why = f"{len(files)} XML files with <annotation>" + (f", {len(lists)} split lists" if lists else "")
    return FormatGuess(Format.VOC, why, (*files, *lists))


def read_voc(source: Source) -> Iterator[ImportItem]:
    """One item for each XML file, each image without one, and each listed name without either."""
    names = source.names()
    images = NameIndex(filter(is_image, names))
    splits = _read_splits(source, names)
    seen: set[str] = set()
    for name in filter(is_xml, names):
        item = _read_file(source, name, images, splits)
        yield _once(item, seen)
        seen.add(item.image_path)
    for name in filter(is_image, names):
        if name not in seen:
            yield unannotated(source, name, _split(splits, name))
            seen.add(name)
    yield from _listed_only(splits, seen)


def read_voc_labels(source: Source) -> tuple[LabelSpec, ...]:
    """The labels that the files use, sorted: VOC has no list of them, so every file is read."""
    found: set[str] = set()
    for name in filter(is_xml, source.names()):
        try:
            found.update(_text(item, "name") for item in _parse(source, name).iter("object"))
        except FormatError:
            continue  # read_voc reports the file
    return tuple(LabelSpec(label, color(index)) for index, label in enumerate(sorted(found - {""})))


def is_xml(name: str) -> bool:
    """Whether a file's ending is that of an annotation file."""
    return name.lower().endswith(".xml")


def split_files(names: Iterable[str]) -> dict[str, Split]:
    """The lists of names, each with the split that it stands for."""
    found: dict[str, Split] = {}
    for name in names:
        path = PurePosixPath(name.lower())
        if path.suffix == ".txt" and path.parent.name in ("main", "imagesets"):
            split: Split | None = "train" if _is_union(name) else split_word(path.stem)
            if split:
                found[name] = split
    return found


def _head(source: Source, name: str) -> bytes:
    with source.open(name) as stream:
        return stream.read(_HEAD)


def _read_splits(source: Source, names: Iterable[str]) -> Splits:
    found: dict[str, set[Split]] = {}
    for name, split in split_files(names).items():
        for stem in _listed(source, name):
            if not _is_union(name):
                found.setdefault(stem, set()).add(split)
    for name in filter(_is_union, split_files(names)):
        for stem in _listed(source, name):
            found.setdefault(stem, {"train"})
    return {stem: frozenset(splits) for stem, splits in found.items()}


def _is_union(name: str) -> bool:
    return PurePosixPath(name).stem.lower() == "trainval"


def _listed(source: Source, name: str) -> Iterator[str]:
    lines = read_small(source, name).decode("utf-8-sig", "replace").splitlines()
    return (line.split()[0].lower() for line in lines if line.strip())


def _split(splits: Splits, name: str) -> Split | None:
    listed = splits.get(PurePosixPath(name).stem.lower(), frozenset())
    return next((split for split in _PRECEDENCE if split in listed), None) or split_of(name)


def _read_file(source: Source, name: str, images: NameIndex, splits: Splits) -> ImportItem:
    try:
        root = _parse(source, name)
    except FormatError as problem:
        image = _image_of(name, "", images)
        wanted = PurePosixPath(name).stem if isinstance(image, Finding) else image
        return failed(wanted, as_finding(problem, name), annotation_path=name)
    image = _image_of(name, _text(root, "filename"), images)
    if isinstance(image, Finding):
        return failed(_text(root, "filename") or PurePosixPath(name).stem, image, annotation_path=name)
    objects = ((f"{name}#object[{index}]", _object(item)) for index, item in enumerate(root.iter("object"), 1))
    return finish(
        source,
        image,
        objects,
        annotation_path=name,
        split=_split(splits, name),
        declared=_declared_size(root),
        problems=_conflict(splits, name),
    )


def _image_of(name: str, declared: str, images: NameIndex) -> str | Finding:
    """The XML file's own name decides: the name inside it is often that of another machine or version."""
    try:
        found = images.find_stem(PurePosixPath(name).stem, near=name)
    except AmbiguousNameError:
        found = None
    return found or locate(images, declared or PurePosixPath(name).stem, near=name)


def _once(item: ImportItem, seen: set[str]) -> ImportItem:
    if item.failed or item.image_path not in seen:
        return item
    path = item.annotation_path or ""
    problem = error("DUPLICATE_IMAGE", f"{item.image_path} is annotated twice", hint="delete one file", path=path)
    return failed(item.image_path, problem, annotation_path=path)


def _listed_only(splits: Splits, seen: set[str]) -> Iterator[ImportItem]:
    stems = {PurePosixPath(name).stem.lower() for name in seen}
    for stem in sorted(splits.keys() - stems):
        problem = error("MISSING_IMAGE", f"a list names {stem}, and no file has that name", hint="add the image")
        yield failed(stem, problem)


def _parse(source: Source, name: str) -> Element:
    content = read_small(source, name)
    try:
        root = ElementTree.fromstring(content)
    except DefusedXmlException as problem:
        raise FormatError("XML_ENTITIES", f"it declares entities: {problem}", "write plain XML") from problem
    except (ParseError, ValueError, LookupError) as problem:
        raise FormatError("BROKEN_FILE", f"it is not well-formed XML: {problem}", "write the file again") from problem
    if root.tag != "annotation":
        raise FormatError("BROKEN_FILE", f"its root is <{root.tag}>, not <annotation>", "leave the file out")
    return root


def _object(item: Element) -> Parsed:
    try:
        xmin, ymin, xmax, ymax = (float(_text(item, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    except ValueError as problem:
        return error("BAD_BOX", f"bndbox cannot be read: {problem}", hint="xmin, ymin, xmax and ymax are numbers")
    attributes = {key: text for key in ATTRIBUTES if (text := _text(item, key)) not in ("", "0", "Unspecified")}
    return Shape(Box.from_corners(xmin - 1, ymin - 1, xmax, ymax), _text(item, "name"), attributes)


def _declared_size(root: Element) -> Size | None:
    try:
        return int(float(_text(root, "size/width"))), int(float(_text(root, "size/height")))
    except (ValueError, OverflowError):
        return None


def _conflict(splits: Splits, name: str) -> tuple[Finding, ...]:
    listed = splits.get(PurePosixPath(name).stem.lower(), frozenset())
    if len(listed) < 2:
        return ()
    message = f"it is listed in {', '.join(sorted(listed))}"
    return (warning("SPLIT_CONFLICT", message, hint="leave it in one list", path=name),)


def _text(item: Element, path: str) -> str:
    return (item.findtext(path) or "").strip()
