"""Reads YOLO label files in Ultralytics' dialects: detect, segment, oriented boxes (as polygons), classify.

Of a line with keypoints the box is read, of a classifier's lines the best class as a tag of the image. A classification
set has no label files: its folders are `<split>/<label>/`.
"""

from collections.abc import Iterable, Iterator, Mapping

from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats.cleaning import (
    About,
    Entry,
    annotated,
    as_finding,
    clean,
    failed,
    finish,
    measure,
    unannotated,
)
from bloomery_vision.formats.joining import joined
from bloomery_vision.formats.model import FormatError, ImportItem
from bloomery_vision.formats.names import nfc
from bloomery_vision.formats.plan import Plan, YoloRows
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.formats.split_words import split_word
from bloomery_vision.formats.texts import read_lines
from bloomery_vision.formats.yolo_files import RANK_HINT, rank_of
from bloomery_vision.formats.yolo_rows import parse_row, shape_of
from bloomery_vision.geometry import Shape, Tag


def read_yolo(source: Source, plan: Plan, images: Iterable[str]) -> Iterator[ImportItem]:
    """One item for each of `images` and for each label file without one."""
    for image in images:
        label, split = plan.label_of.get(image), plan.splits.get(image)
        if label == image:
            tag = Entry(image, Shape(Tag(), folder_class(image) or ""))
            yield finish(source, image, [tag], About(image, split))
        elif label:
            yield _read(source, plan, image, label)
        else:
            yield unannotated(source, image, split)
    for label, problem in plan.unplaced.items():
        yield failed(label, problem, annotation_path=label)


def folder_class(image: str) -> str | None:
    """The label of an image that lies in `<split>/<label>/`, as classification data does."""
    parts = image.split("/")
    if len(parts) < 3 or not split_word(parts[-3]) or parts[-2].lower() == "images":
        return None
    return parts[-2]


def _read(source: Source, plan: Plan, image: str, label: str) -> ImportItem:
    size = measure(source, image)
    if isinstance(size, Finding):
        return failed(image, size, annotation_path=label)
    files: list[tuple[str, list[str]]] = []
    problems: list[Finding] = []
    for name in (label, *plan.more_labels.get(image, ())):
        try:
            files.append((name, read_lines(source, name)))
        except FormatError as problem:
            problems.append(as_finding(problem, name))
    if not files:
        return failed(image, problems[0], annotation_path=label)
    if plan.rows.ranks:
        return _ranked(plan, image, size, files[0], problems)
    problems += [_keypoint_note(name) for name, lines in files if plan.rows.keypoints and any(lines)]
    parts = [(name, clean(_parsed(lines, name, size, plan.names(name), plan.rows), size)) for name, lines in files]
    return annotated(image, size, joined(parts), About(files[0][0], plan.splits.get(image), problems=problems))


def _ranked(plan: Plan, image: str, size: Size, file: tuple[str, list[str]], problems: list[Finding]) -> ImportItem:
    """The item of an image that a classifier saw: its most probable class. What is behind it is not what it is."""
    name, lines = file
    best = next(((number, line) for number, line in enumerate(lines, 1) if line), None)
    if best is None:
        return ImportItem(image, *size, split=plan.splits.get(image), annotation_path=name, annotated=False)
    number, line = best
    found = rank_of(line)
    parsed = (
        Shape(Tag(), nfc(found[1]), {"score": f"{found[0]:g}"})
        if found
        else error("BAD_LINE", f"{line!r:.60} is none", hint=RANK_HINT)
    )
    cleaned = clean([Entry(f"{name}#line {number}", parsed)], size)
    return annotated(image, size, cleaned, About(name, plan.splits.get(image), problems=problems))


def _parsed(
    lines: list[str], label: str, size: Size, names: Mapping[int, str] | None, rows: YoloRows
) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        if line:
            row = parse_row(line)
            parsed = row if isinstance(row, Finding) else shape_of(row, size, names, rows)
            yield Entry(f"{label}#line {number}", parsed)


def _keypoint_note(label: str) -> Finding:
    return warning("KEYPOINTS_IGNORED", "its keypoints are not read, its boxes are", path=label)
