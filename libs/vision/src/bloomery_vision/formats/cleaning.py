"""What all readers do with what they found: keep the usable shapes, say what is wrong with the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bloomery_vision.findings import Finding, Severity, error, warning
from bloomery_vision.formats.model import FormatError, ImportItem, Split
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.geometry import Geometry, Shape
from bloomery_vision.images import ImageError
from bloomery_vision.orientation import SIDEWAYS, turned
from bloomery_vision.validate import is_plain, usable, validate_shape

MAX_PROBLEMS = 100
"""Findings kept for one image."""


@dataclass(frozen=True, slots=True)
class Outlined:
    """An object with an outline and, where that cannot be used, a box instead."""

    outline: Shape | Finding
    box: Shape


Parsed = Shape | Finding | Outlined
"""What a reader makes of one object: the shape, or why there is none."""


class Entry(NamedTuple):
    """One object of a label file: where it stands, what the reader makes of it, and its id if it has one."""

    path: str
    parsed: Parsed
    id: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The usable shapes of an image, the ids that they have in the file, and what there is to say about all entries."""

    shapes: list[Shape] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)


class Stated(NamedTuple):
    """The size of an image that a label file states, and the EXIF orientation by which its shapes were turned, or 1."""

    path: str
    size: Size | None
    orientation: int


@dataclass(frozen=True, slots=True)
class About:
    """What an item says beside its shapes; see `ImportItem`."""

    annotation_path: str
    split: Split | None = None
    stated: Sequence[Stated] = ()
    problems: Sequence[Finding] = ()
    source_name: str = ""
    source_id: str = ""


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


def orientation_of(source: Source, name: str, size: Size, declared: Size | None) -> int:
    """By which EXIF orientation shapes are to be turned, 1 for none.

    A label file that states the sides of an image the other way round, where the EXIF orientation swaps them, was made
    by a program that does not look at that.
    """
    if declared != size[::-1] or declared == size:
        return 1
    try:
        found = source.orientation(name)
    except (ImageError, OSError):
        return 1
    return found if found in SIDEWAYS else 1


def finish(source: Source, image_path: str, entries: Iterable[Entry], about: About) -> ImportItem:
    """The item of an annotated image."""
    size = measure(source, image_path)
    if isinstance(size, Finding):
        return failed(image_path, size, annotation_path=about.annotation_path)
    return annotated(image_path, size, clean(entries, size), about)


def annotated(image_path: str, size: Size, cleaned: Cleaned, about: About) -> ImportItem:
    """The item of an image whose shapes are cleaned."""
    # Once for each file, which may be about the image several times.
    mismatches = dict.fromkeys(found for stated in about.stated for found in _size_mismatch(stated, size))
    found = [*about.problems, *mismatches, *cleaned.found]
    # Nothing left of what was drawn is not the same as nothing drawn: it must not train as background.
    lost = not cleaned.shapes and any(problem.severity is Severity.ERROR for problem in found)
    return ImportItem(
        image_path,
        *size,
        tuple(cleaned.shapes),
        about.split,
        _bounded(found),
        about.annotation_path,
        annotated=not lost,
        source_name=about.source_name,
        source_id=about.source_id,
        shape_ids=tuple(cleaned.ids) if any(cleaned.ids) else (),
    )


def unannotated(source: Source, image_path: str, split: Split | None) -> ImportItem:
    """The item of an image that no annotation file mentions."""
    size = measure(source, image_path)
    if isinstance(size, Finding):
        return failed(image_path, size)
    return ImportItem(image_path, *size, split=split, annotated=False)


def as_finding(problem: FormatError, path: str) -> Finding:
    """The same as an observation."""
    return error(problem.code, problem.message, hint=problem.hint, path=path)


def clean(entries: Iterable[Entry], size: Size, orientation: int = 1) -> Cleaned:
    """The usable shapes, cut off at the edges of an image of that size.

    With an orientation other than 1 they are of the image as it is stored, and turned.
    """
    if orientation in SIDEWAYS:
        cleaned = clean(entries, size[::-1])
        stored = [replace(one, geometry=turned(one.geometry, orientation, *size[::-1])) for one in cleaned.shapes]
        return replace(cleaned, shapes=stored)
    cleaned = Cleaned()
    seen: set[tuple[Geometry, str]] = set()
    for entry in entries:
        shape = _plain(entry.parsed, size)
        if shape is None:
            shape, findings = _usable(entry, size)
            cleaned.found.extend(findings)
        if shape is None:
            continue
        known = len(seen)
        seen.add((shape.geometry, shape.label))
        if len(seen) == known:
            message = f"the same {shape.label} is there twice"
            cleaned.found.append(warning("DUPLICATE_SHAPE", message, hint="delete one", path=entry.path))
        cleaned.shapes.append(shape)
        cleaned.ids.append(entry.id)
    return cleaned


def _plain(parsed: Parsed, size: Size) -> Shape | None:
    return parsed if isinstance(parsed, Shape) and is_plain(parsed, *size) else None


def _usable(entry: Entry, size: Size) -> tuple[Shape | None, list[Finding]]:
    if not isinstance(entry.parsed, Outlined):
        return _clean(entry.parsed, size, entry.path)
    shape, findings = _clean(entry.parsed.outline, size, entry.path)
    if shape is not None:
        return shape, findings
    box, about_box = _clean(entry.parsed.box, size, entry.path)
    if box is None:
        return None, findings
    return box, [*map(_box_instead, findings), *about_box]


def _box_instead(problem: Finding) -> Finding:
    message = f"its outline cannot be used, its box is: {problem.message}"
    return replace(problem, severity=Severity.WARNING, message=message)


def _clean(parsed: Shape | Finding, size: Size, path: str) -> tuple[Shape | None, list[Finding]]:
    if isinstance(parsed, Finding):
        return None, [replace(parsed, path=path)]
    findings = validate_shape(parsed, *size, path)
    if not usable(findings):
        return None, findings
    kept = parsed.geometry.inside(*size)
    if kept is parsed.geometry:
        return parsed, findings
    return (replace(parsed, geometry=kept) if kept else None), findings


def _size_mismatch(stated: Stated, size: Size) -> list[Finding]:
    path, declared, orientation = stated
    if declared is None or declared == size or not all(declared):
        return []
    message = f"the file says {declared[0]} x {declared[1]}, the image has {size[0]} x {size[1]}"
    hint = "the boxes may be of another version of the image; look at them"
    if orientation != 1:
        message += f" as it is shown (EXIF orientation {orientation}): its shapes were turned with it"
        return [warning("TURNED", message, hint="look at one of them", path=path)]
    if declared == size[::-1]:
        hint = "the boxes may have been drawn on the image before it was turned; look at them"
    return [warning("SIZE_MISMATCH", message, hint=hint, path=path)]


def _bounded(found: list[Finding]) -> tuple[Finding, ...]:
    if len(found) <= MAX_PROBLEMS:
        return tuple(found)
    rest = warning("MORE_PROBLEMS", f"{len(found) - MAX_PROBLEMS} more problems are not listed")
    return (*found[:MAX_PROBLEMS], rest)
