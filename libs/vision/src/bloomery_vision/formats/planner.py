"""Makes the plan of a folder: asks each format what it knows, decides which is meant, and accounts for every file."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.model import Format, FormatError, ImportItem, Split
from bloomery_vision.formats.names import base_of, fold, folder_of, split_suffix
from bloomery_vision.formats.other_formats import name_of_format
from bloomery_vision.formats.packed import Column, Names
from bloomery_vision.formats.plan import Doubt, Left, Plan, no_split, split_conflict
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import PRECEDENCE
from bloomery_vision.formats.split_words import split_of
from bloomery_vision.formats.survey import sample
from bloomery_vision.formats.table import FORMATS
from bloomery_vision.formats.tree import LABEL_SUFFIXES, PICTURES_NOT_READ, VIDEOS, Tree

_TABLES = (".csv", ".jsonl", ".tsv")
_LEFT = tuple(Left)
_CODES = {why: code for code, why in enumerate(_LEFT, 1)}


def understand(source: Source, file_format: Format | None = None) -> Plan:
    """What the files of a source are understood to be.

    Args:
        source: only names and small files are read, of images nothing.
        file_format: what the label files are, where the caller knows.

    Returns:
        The plan. It never raises for what the files hold: what cannot be imported is among the plan's `stops`.
    """
    tree = Tree.of(source.names())
    asked = FORMATS.values() if file_format is None else [FORMATS[file_format]]
    claims = [claim for one in asked if (claim := one.claim(source, tree))]
    best = _best(claims)
    if len(best) > 1:
        return _undecided(tree, best)
    chosen = best[0] if best else Claim(file_format or Format.IMAGES, "")
    return _complete(source, tree, chosen, [claim for claim in claims if claim is not chosen], asked_for=file_format)


def _best(claims: Sequence[Claim]) -> Sequence[Claim]:
    """The claims to choose from: what label files say of images, then label files at all, then names of folders."""
    for kind in (_labels_images, _has_files, _has_labels):
        if found := [claim for claim in claims if kind(claim)]:
            return found
    # What names classes and splits is worth more than the images alone.
    return claims[:1]


def _labels_images(claim: Claim) -> bool:
    return bool(claim.label_files and claim.label_of)


def _has_labels(claim: Claim) -> bool:
    return bool(claim.label_of)


def _has_files(claim: Claim) -> bool:
    return bool(claim.label_files)


def _is_guess(claim: Claim) -> bool:
    """Whether nothing but names of folders says what is in the images."""
    return _has_labels(claim) and not _has_files(claim)


def read(source: Source, understood: Plan, images: Iterable[str] | None = None) -> Iterator[ImportItem]:
    """What the files say, image by image, as they were understood; a broken file costs its own items only.

    Args:
        source: the files.
        understood: the plan of these files.
        images: those of the plan's images to read, all of them without it. They may come in any order and repeatedly;
            each is asked for only when its item is wanted. Items that are about no image of the plan come before the
            first of them is asked for, or after the last.

    Raises:
        FormatError: before the first item, where the plan says why nothing can be imported.
    """
    for stop in understood.stops:
        raise FormatError(stop.code, stop.message, stop.hint)
    return FORMATS[understood.format].read(source, understood, understood.images if images is None else images)


def _undecided(tree: Tree, claims: Sequence[Claim]) -> Plan:
    why = "; ".join(f"{claim.format}: {claim.why}, of {len(claim.label_of)} images" for claim in claims)
    hint = "name the format, on the command line by `--format`, or import each folder by itself"
    stop = error("AMBIGUOUS_FORMAT", f"the files fit several formats ({why})", hint=hint, path=claims[0].label_files[0])
    label_files = sorted({name for claim in claims for name in claim.label_files})
    lists = sorted({name for claim in claims for name in claim.lists}.difference(label_files))
    left = _left(tree.names.without(label_files, lists, tree.images), tree.masks)
    return Plan(claims[0].format, images=tree.images, label_files=label_files, lists=lists, left=left, stops=(stop,))


def _complete(
    source: Source, tree: Tree, chosen: Claim, rejected: Sequence[Claim], *, asked_for: Format | None
) -> Plan:
    images = tree.images.without(chosen.masks) if chosen.masks else tree.images
    left = _left(tree.names.without(images, chosen.label_files, chosen.lists), tree.masks | chosen.masks)
    for name, why in chosen.left.items():
        _leave(left, name, why)
    for claim in rejected:
        for name in claim.label_files:
            _leave(left, name, Left.OTHER_FORMAT)
    others = _name_others(source, left, rejected)
    if asked_for is None and _is_guess(chosen):
        others = {**others, **_beside_images(tree, left)}
        # Labels that are not read speak against it.
        chosen = replace(chosen, label_of={}, labels=()) if others else chosen
    is_labelled = bool(chosen.label_files or chosen.label_of)
    splits = _splits(images, chosen)
    return Plan(
        format=chosen.format if is_labelled else asked_for or Format.IMAGES,
        images=images,
        label_files=chosen.label_files,
        lists=chosen.lists,
        left=left,
        label_of=chosen.label_of,
        more_labels=chosen.more_labels,
        unplaced=chosen.unplaced,
        splits=splits,
        split_lists=chosen.splits.lists,
        class_lists=chosen.class_lists,
        class_list_of=chosen.class_list_of,
        labels=chosen.labels,
        pixel_origin=chosen.pixel_origin,
        rows=chosen.rows,
        doubts=(
            *chosen.doubts,
            *_about_splits(chosen, images, splits),
            *_about_left(left),
            *_about_rejected(chosen, rejected),
            *(_about_tags(chosen) if asked_for is None and _is_guess(chosen) else ()),
            *(() if asked_for is Format.IMAGES else _about_labels(images, others, is_labelled=is_labelled)),
        ),
        stops=(*chosen.stops, *(() if is_labelled or asked_for else _unknown(images, others))),
    )


def _left(names: Names, masks: frozenset[str]) -> Column[Left]:
    return Column(names, bytearray(_CODES[_kind(name, masks)] for name in names), _LEFT)


def _leave(left: Column[Left], name: str, why: Left) -> None:
    place = left.names.place(name)
    if place is not None:
        left.codes[place] = _CODES[why]


def _kind(name: str, masks: frozenset[str]) -> Left:
    suffix = split_suffix(base_of(name))[1]
    if name in masks:
        return Left.MASK
    if suffix in PICTURES_NOT_READ:
        return Left.PICTURE_NOT_READ
    if suffix in VIDEOS:
        return Left.VIDEO
    return Left.NOT_LABELS if suffix in LABEL_SUFFIXES else Left.OTHER


def _name_others(source: Source, left: Column[Left], rejected: Sequence[Claim]) -> Mapping[str, Sequence[str]]:
    """Marks the files that hold labels in formats that are not read; by the names of those formats."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    unclear = left.names.flagged(
        bytearray(why is Left.NOT_LABELS or name.lower().endswith(_TABLES) for name, why in left.items())
    )
    for name in sample(unclear):
        if title := name_of_format(source, name):
            found[title].append(name)
            _leave(left, name, Left.OTHER_FORMAT)
    others = left.names.flagged(bytearray(why is Left.OTHER_FORMAT for why in left.values()))
    rest = others.without(*found.values(), *(claim.label_files for claim in rejected))
    return {**found, **({"another format or kind": rest} if rest else {})}


def _beside_images(tree: Tree, left: Column[Left]) -> Mapping[str, Sequence[str]]:
    """Files that are called as the images beside them: labels, of whatever kind."""
    stems = tree.index.stems
    found = left.names.where(
        lambda name: (
            left[name] is Left.NOT_LABELS and bool(stems.places(split_suffix(fold(base_of(name)))[0], folder_of(name)))
        )
    )
    for name in found:
        _leave(left, name, Left.OTHER_FORMAT)
    return {"an unknown kind": found} if found else {}


def _splits(images: Names, claim: Claim) -> Column[Split]:
    """The split of each image: as lists say, else as its label file's name says, else as its folder is called."""
    found = Column(images, bytearray(len(images)), PRECEDENCE)
    undecided: dict[tuple[str, Split], bool] = {}
    for place, image in enumerate(images):
        split = claim.splits.get(image) or claim.file_splits.get(image)
        if split is None and (split := split_of(image)):
            key = (folder_of(image), split)
            if key not in undecided:
                undecided[key] = not claim.splits.decided_for(*key)
            split = split if undecided[key] else None
        if split:
            found.codes[place] = PRECEDENCE.index(split) + 1
    return found


def _about_splits(claim: Claim, images: Names, splits: Column[Split]) -> Iterator[Doubt]:
    told = claim.splits
    if splits and len(splits) < len(images):
        without = images.flagged(bytearray(not code for code in splits.codes))
        yield no_split(len(without), without[0])
    if told.conflicts:
        yield split_conflict(len(told.conflicts), told.conflicts[0])
    # Roboflow names a folder for test images whether there are any or not.
    empty = [one.path for one in told.lists if not one.images and one.split != "test"]
    if empty:
        message = "lists, or paths of a configuration, have no image"
        yield Doubt("EMPTY_SPLIT", message, "correct the path, or add the images", len(empty), empty[0])
    if told.missing:
        line, path = told.missing[0]
        message = f"lists name images that are not there, such as {line:.200}"
        yield Doubt("LISTED_IMAGE_MISSING", message, "add the images", len(told.missing), path)
    if told.undecided:
        line, path = told.undecided[0]
        message = f"lists give names that fit several images, such as {line:.200}"
        yield Doubt("LISTED_IMAGE_AMBIGUOUS", message, "write them with their folders", len(told.undecided), path)
    if told.broken:
        path, message = told.broken[0]
        yield Doubt("BROKEN_FILE", message, "save it as UTF-8", len(told.broken), path)


def _about_left(left: Column[Left]) -> Iterator[Doubt]:
    pictures = left.names.flagged(bytearray(why is Left.PICTURE_NOT_READ for why in left.values()))
    if pictures:
        message = f"pictures are of kinds that are not read: {_suffixes(pictures)}"
        yield Doubt("PICTURE_NOT_READ", message, "save them as JPEG or PNG", len(pictures), pictures[0])
    videos = left.names.flagged(bytearray(why is Left.VIDEO for why in left.values()))
    if videos:
        message = f"videos are not read: {_suffixes(videos)}"
        yield Doubt("VIDEO_NOT_READ", message, "save their frames as images", len(videos), videos[0])


def _about_rejected(chosen: Claim, rejected: Sequence[Claim]) -> Iterator[Doubt]:
    """Label files in a format that is read, of which none is about an image that is there."""
    for names, one in ((claim.label_files, claim.format) for claim in rejected if claim.label_files):
        message = f"files of the format {one} label no image of this folder, which is read as {chosen.format}"
        yield Doubt("OTHER_FORMAT", message, "add the images that they name, or leave them out", len(names), names[0])


def _about_tags(claim: Claim) -> Iterator[Doubt]:
    """That the names of folders are labels: nobody has said so."""
    image = next(iter(claim.label_of))
    message = "images are tagged with the names of their folders, because no label file is there"
    hint = "name the format `yolo` if that is right, `images` if they have no labels yet"
    yield Doubt("TAGS_FROM_FOLDERS", message, hint, len(claim.label_of), f"{image}: {base_of(folder_of(image))}")


def _about_labels(images: Sequence[str], others: Mapping[str, Sequence[str]], *, is_labelled: bool) -> Iterator[Doubt]:
    for title, names in others.items():
        message = f"files hold labels of {title}, which are not read"
        yield Doubt("OTHER_FORMAT", message, "export them as COCO, Pascal VOC or YOLO", len(names), names[0])
    if images and not is_labelled:
        message = "nothing labels the images; they are imported as not annotated"
        hint = f"name the format `images` if that is right; else convert the labels: {_layouts()}"
        yield Doubt("NO_LABELS", message, hint, len(images), images[0])


def _unknown(images: Sequence[str], others: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Labels that are not understood must not be passed over in silence."""
    if others or not images:
        titles = (
            f"there are labels of {', '.join(sorted(others))}, which are not read" if others else "there are no labels"
        )
        hint = f"to import the images without labels, name the format `images`; else convert the labels: {_layouts()}"
        yield error("UNKNOWN_FORMAT", f"{titles}, beside {len(images)} images", hint=hint)


def _layouts() -> str:
    return "; ".join(one.layout for one in FORMATS.values())


def _suffixes(names: Sequence[str]) -> str:
    return ", ".join(sorted({split_suffix(base_of(name))[1] for name in names}))
