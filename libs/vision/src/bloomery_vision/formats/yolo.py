"""Reads YOLO label files in Ultralytics' dialects: detect, segment, oriented boxes (as polygons), classify.

A line is a class number and then, in fractions of the image's sides, the centre and size of a box (4 numbers) or the
points of an outline (6 or more). Of a line with keypoints the box is read. A classification set has no label
files: its folders are `<split>/<label>/`.
"""

from collections.abc import Iterator, Mapping

from bloomery_vision.colors import color
from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats.cleaning import Parsed, as_finding, failed, finish, measure, read_small, unannotated
from bloomery_vision.formats.lookup import is_image
from bloomery_vision.formats.model import Format, FormatError, FormatGuess, ImportItem, LabelSpec
from bloomery_vision.formats.source import Size, Source
from bloomery_vision.formats.yolo_layout import Layout, find_config, folder_class, label_files, understand
from bloomery_vision.geometry import Box, Geometry, Polygon, Shape, Tag

_LINE_HINT = "a line is: class x y width height, or class x1 y1 x2 y2 x3 y3 ..., as fractions of the image's sides"


def detect_yolo(source: Source) -> FormatGuess | None:
    """Label files, or folders of classes."""
    labels = label_files(source.names())
    config = find_config(source)
    if labels:
        why = f"{len(labels)} label files" + (f" and {config}" if config else "")
        others = [name for name in source.names() if name.lower().endswith((".txt", ".yaml", ".yml", ".names"))]
        return FormatGuess(Format.YOLO, why, tuple(others))
    classes = {label for name in filter(is_image, source.names()) if (label := folder_class(name))}
    return FormatGuess(Format.YOLO, f"images in folders of {len(classes)} classes", ()) if classes else None


def read_yolo(source: Source) -> Iterator[ImportItem]:
    """One item for each image and for each label file without one.

    Raises:
        FormatError: before the first item, where the file that names the labels cannot be used.
    """
    layout = understand(source)
    for image in filter(is_image, source.names()):
        if label := layout.label_of.get(image):
            yield _read_file(source, image, label, layout)
        elif not layout.label_of and (name := folder_class(image)):
            tag = ((image, Shape(Tag(), name)),)
            yield finish(source, image, tag, annotation_path=image, split=layout.split(image))
        else:
            yield unannotated(source, image, layout.split(image))
    for label in layout.orphans:
        problem = error("MISSING_IMAGE", f"no image belongs to {label}", hint="add the image", path=label)
        yield failed(label, problem, annotation_path=label)


def read_yolo_labels(source: Source) -> tuple[LabelSpec, ...]:
    """The labels by class number. Where nothing lists them, the numbers in use (every file is read) or the folders.

    Raises:
        FormatError: where the file that names the labels cannot be used.
    """
    layout = understand(source)
    if layout.names is not None:
        found = [layout.names[number] for number in sorted(layout.names)]
    elif layout.label_of:
        found = [_nameless(number) for number in sorted(_numbers_in_use(source, layout))]
    else:
        found = sorted({label for name in filter(is_image, source.names()) if (label := folder_class(name))})
    return tuple(LabelSpec(label, color(index)) for index, label in enumerate(dict.fromkeys(found)))


def _read_file(source: Source, image: str, label: str, layout: Layout) -> ImportItem:
    size = measure(source, image)
    if isinstance(size, Finding):
        return failed(image, size, annotation_path=label)
    try:
        text = read_small(source, label).decode("utf-8-sig")
    except FormatError as problem:
        return failed(image, as_finding(problem, label), annotation_path=label)
    except UnicodeDecodeError:
        binary = error("BROKEN_FILE", "it is not text", hint="write the file again", path=label)
        return failed(image, binary, annotation_path=label)
    lines = _lines(text, label, size, layout)
    notes = [_keypoint_note(label)] if layout.keypoints and text.strip() else []
    return finish(source, image, lines, annotation_path=label, split=layout.split(image), problems=notes)


def _lines(text: str, label: str, size: Size, layout: Layout) -> Iterator[tuple[str, Parsed]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{label}#line {number}", _parse(line.split(), size, layout)


def _parse(words: list[str], size: Size, layout: Layout) -> Parsed:
    try:
        index, numbers = float(words[0]), [float(word) for word in words[1:]]
    except ValueError as problem:
        return error("BAD_LINE", str(problem), hint=_LINE_HINT)
    label = _label(index, layout.names)
    if isinstance(label, Finding):
        return label
    if layout.keypoints and len(numbers) == 4 + layout.keypoints:
        numbers = numbers[:4]
    geometry = _geometry(numbers, size)
    if geometry is None:
        return error("BAD_LINE", f"{len(numbers)} numbers follow the class", hint=_LINE_HINT)
    return Shape(geometry, label)


def _geometry(numbers: list[float], size: Size) -> Geometry | None:
    width, height = size
    if len(numbers) == 4:
        x, y, w, h = numbers
        return Box((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    return Polygon(tuple((x * width, y * height) for x, y in zip(numbers[::2], numbers[1::2], strict=True)))


def _label(index: float, names: Mapping[int, str] | None) -> str | Finding:
    if not index.is_integer() or index < 0:
        return error("UNKNOWN_CLASS", f"{index:g} is not a class number", hint=_LINE_HINT)
    if names is None:
        return _nameless(int(index))
    label = names.get(int(index))
    hint = f"the classes are 0 to {max(names)}; add a name for it"
    return label or error("UNKNOWN_CLASS", f"class {index:g} has no name", hint=hint)


def _nameless(number: int) -> str:
    return f"class_{number}"


def _numbers_in_use(source: Source, layout: Layout) -> set[int]:
    found: set[int] = set()
    for label in layout.label_of.values():
        try:
            lines = read_small(source, label).decode("utf-8-sig", "replace").splitlines()
        except FormatError:
            continue  # read_yolo reports the file
        words = (line.split()[0] for line in lines if line.strip())
        found.update(int(word) for word in words if word.isdecimal())
    return found


def _keypoint_note(label: str) -> Finding:
    return warning("KEYPOINTS_IGNORED", "its keypoints are not read, its boxes are", path=label)
