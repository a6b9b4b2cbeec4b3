"""What somebody should look at in COCO files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bloomery_vision.formats.coco_survey import File
from bloomery_vision.formats.plan import Doubt

_SHOWN = 5
"""Keys that a message names."""


def about_files(files: Sequence[File]) -> Iterator[Doubt]:
    """The doubts about files that are read."""
    yield from _about_empty(files)
    yield from _about_records(files)


def _about_empty(files: Sequence[File]) -> Iterator[Doubt]:
    bare = [one for one in files if one.records and not one.is_annotated]
    if bare:
        count = sum(one.records for one in bare)
        message = f"{bare[0].path} lists images and no annotations: they count as not annotated"
        yield Doubt("NO_ANNOTATIONS", message, "leave the file out if they are to be labelled", count, bare[0].path)
    empty = [one for one in files if one.records and one.is_annotated and not one.objects and not one.broken]
    if empty:
        count = sum(one.records for one in empty)
        message = f"{empty[0].path} lists images and not one object: they count as annotated and empty"
        yield Doubt("NO_OBJECTS", message, "leave the file out if they are to be labelled", count, empty[0].path)


def _about_records(files: Sequence[File]) -> Iterator[Doubt]:
    """What the reader will not be able to use, as far as it is known before images are looked at."""
    sound = [one for one in files if one.is_annotated and not one.broken]
    missing = {one.path: one.missing for one in sound}
    yield from _told("MISSING_IMAGE", missing, "images that COCO files list are not there", "add the images")
    ambiguous = {one.path: one.ambiguous for one in sound}
    hint = "give the images different names"
    yield from _told("AMBIGUOUS_IMAGE", ambiguous, "images that COCO files list may be several", hint)
    repeated = {one.path: one.repeated for one in sound}
    message = "categories have the id of another one of their file, which is taken"
    yield from _told("DUPLICATE_ID", repeated, message, "give each category its own")
    if fractions := [one for one in sound if one.objects and one.only_fractions]:
        message = "boxes look like fractions of their image's sides, and COCO counts pixels"
        hint = "multiply them by the sides, or save them as YOLO"
        yield Doubt("NOT_PIXELS", message, hint, sum(one.objects for one in fractions), fractions[0].path)
    yield from _about_dropped(sound)
    unknown = {one.path: one.unknown for one in sound}
    message = "annotations are of categories that their file does not list"
    yield from _told("UNKNOWN_CLASS", unknown, message, "add the categories, or correct the ids")


def _about_dropped(files: Sequence[File]) -> Iterator[Doubt]:
    dropped = sum((one.dropped for one in files), Counter[str]())
    if dropped:
        keys = sorted(dropped)
        shown = ", ".join(f"{key:.60}" for key in keys[:_SHOWN])
        message = f"values of annotations are not read: {shown}"
        path = next(one.path for one in files if keys[0] in one.dropped)
        hint = "put what is to be kept under `attributes`, each value by its name, and none as null"
        yield Doubt("KEYS_NOT_READ", message, hint, dropped.total(), f"{path}: {keys[0]:.60}")


def _told(code: str, found: Mapping[str, Mapping[str, int]], message: str, hint: str) -> Iterator[Doubt]:
    """One doubt about names or ids, which are counted by file."""
    first = next((f"{path}: {name or 'none':.200}" for path, names in found.items() for name in names), "")
    if first:
        yield Doubt(code, message, hint, sum(sum(names.values()) for names in found.values()), first)
