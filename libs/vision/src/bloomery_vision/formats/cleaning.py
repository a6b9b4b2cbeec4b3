"""What all readers do with what they found: keep the usable shapes, say what is wrong with the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO

from bloomery_vision.findings import Finding, Severity, error, warning
from bloomery_vision.formats.lookup import AmbiguousNameError, NameIndex
from bloomery_vision.formats.model import FormatError, ImportItem, Split
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.geometry import Geometry, Shape
from bloomery_vision.images import ImageError
from bloomery_vision.validate import usable, validate_shape

MAX_FILE_SIZE = 32 << 20
"""Bytes of an annotation file that belongs to one image, or of a list of names."""

MAX_PROBLEMS = 100
"""Findings kept for one image."""

Parsed = Shape | Finding
"""What a reader makes of one object: the shape, or why there is none."""


def failed(image_path: str, problem: Finding, *, annotation_path: str | None = None) -> ImportItem:
    """An item of which nothing can be imported."""
    return ImportItem(image_path, problems=(problem,), annotation_path=annotation_path, annotated=False, failed=True)


def measure(source: Source, name: str) -> Size | Finding:
    """The size of an image, or why it has none."""
    try:
        return source.image_size(name)
    except ImageError as problem:
        return error(problem.code, problem.message, hint=problem.hint, path=name)
    except OSError as problem:
        return error("UNREADABLE", str(problem), hint="upload the image again", path=name)


def locate(index: NameIndex, wanted: str, *, near: str) -> str | Finding:
    """The image that `wanted` means, or why there is none."""
    try:
        found = index.find(wanted, near=near)
    except AmbiguousNameError as problem:
        return error("AMBIGUOUS_IMAGE", str(problem), hint="give the images different names", path=near)
    return found or error("MISSING_IMAGE", f"there is no image {wanted}", hint="add the image", path=near)


def finish(
    source: Source,
    image_path: str,
    parsed: Iterable[tuple[str, Parsed]],
    *,
    annotation_path: str,
    split: Split | None,
    declared: Size | None = None,
    problems: Sequence[Finding] = (),
) -> ImportItem:
    """The item of an annotated image.

    `parsed` is each object with where it stands in the file, `declared` the size that the annotation file gives ((0, 0)
    or None where it says nothing), and `problems` what is already known to be wrong.
    """
    size = measure(source, image_path)
    if isinstance(size, Finding):
        return failed(image_path, size, annotation_path=annotation_path)
    found = [*problems, *_size_mismatch(declared, size, annotation_path)]
    shapes = _usable(parsed, size, found)
    # Nothing left of what was drawn is not the same as nothing drawn: it must not train as background.
    lost = not shapes and any(problem.severity is Severity.ERROR for problem in found)
    return ImportItem(image_path, *size, tuple(shapes), split, _bounded(found), annotation_path, annotated=not lost)


def unannotated(source: Source, image_path: str, split: Split | None) -> ImportItem:
    """The item of an image that no annotation file mentions."""
    size = measure(source, image_path)
    if isinstance(size, Finding):
        return failed(image_path, size)
    return ImportItem(image_path, *size, split=split, annotated=False)


def read_small(source: Source, name: str) -> bytes:
    """The content of a file that has no reason to be large.

    Raises:
        FormatError: FILE_TOO_LARGE, UNREADABLE.
    """
    try:
        with source.open(name) as stream:
            return _read(stream, name)
    except OSError as problem:
        raise FormatError("UNREADABLE", str(problem), "upload the file again") from problem


def as_finding(problem: FormatError, path: str) -> Finding:
    """The same as an observation."""
    return error(problem.code, problem.message, hint=problem.hint, path=path)


def _read(stream: BinaryIO, name: str) -> bytes:
    content = stream.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise FormatError("FILE_TOO_LARGE", f"{name} is larger than {MAX_FILE_SIZE >> 20} MiB", "split it")
    return content


def _usable(parsed: Iterable[tuple[str, Parsed]], size: Size, found: list[Finding]) -> list[Shape]:
    shapes: list[Shape] = []
    seen: set[tuple[Geometry, str]] = set()
    for path, item in parsed:
        if isinstance(item, Finding):
            found.append(replace(item, path=path))
            continue
        shape, findings = _clean(item, size, path)
        found += findings
        if shape is None:
            continue
        if (shape.geometry, shape.label) in seen:
            found.append(
                warning("DUPLICATE_SHAPE", f"the same {shape.label} is there twice", hint="delete one", path=path)
            )
        seen.add((shape.geometry, shape.label))
        shapes.append(shape)
    return shapes


def _clean(shape: Shape, size: Size, path: str) -> tuple[Shape | None, list[Finding]]:
    findings = validate_shape(shape, *size, path)
    if not usable(findings):
        return None, findings
    kept = shape.geometry.inside(*size)
    return (replace(shape, geometry=kept) if kept else None), findings


def _size_mismatch(declared: Size | None, size: Size, path: str) -> list[Finding]:
    if declared is None or declared == size or not all(declared):
        return []
    message = f"the file says {declared[0]} x {declared[1]}, the image has {size[0]} x {size[1]}"
    hint = "the boxes may be of another version of the image; look at them"
    if declared == size[::-1]:
        hint = "the boxes may have been drawn on the image before its EXIF orientation was applied; look at them"
    return [warning("SIZE_MISMATCH", message, hint=hint, path=path)]


def _bounded(found: list[Finding]) -> tuple[Finding, ...]:
    if len(found) <= MAX_PROBLEMS:
        return tuple(found)
    rest = warning("MORE_PROBLEMS", f"{len(found) - MAX_PROBLEMS} more problems are not listed")
    return (*found[:MAX_PROBLEMS], rest)
