"""What of a folder is YOLO: its label files, the lists of classes that apply to them, and what their lines mean."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from bloomery_vision.colors import color
from bloomery_vision.findings import Finding, error
from bloomery_vision.formats.claims import Claim
from bloomery_vision.formats.class_lists import ClassList, is_list
from bloomery_vision.formats.model import Format, FormatError, LabelSpec
from bloomery_vision.formats.names import folder_of, nfc
from bloomery_vision.formats.packed import Column, Names, numbers
from bloomery_vision.formats.pairing import SEVERAL_HINT, Pairs, missing_image, pair, used
from bloomery_vision.formats.plan import Doubt, Left, YoloRows
from bloomery_vision.formats.source import Source
from bloomery_vision.formats.split_lists import SplitReader
from bloomery_vision.formats.survey import SAMPLE, sample
from bloomery_vision.formats.texts import read_lines
from bloomery_vision.formats.tree import Tree
from bloomery_vision.formats.yolo import folder_class
from bloomery_vision.formats.yolo_classes import Applied, Classes, apply_lists
from bloomery_vision.formats.yolo_files import Text, kind_of_folder, look_at, rank_of
from bloomery_vision.formats.yolo_rows import Row, in_pixels, nameless, parse_row, understand_rows

_LABELS = "labels"


def claim_yolo(source: Source, tree: Tree) -> Claim | None:
    """What of the folder is YOLO: label files, or at least a file that names classes or splits."""
    classes = Classes.of(source, tree)
    splits = SplitReader(source, tree)
    for path, content in classes.configs.items():
        splits.read_config(path, content)
    files = _label_files(source, tree, splits)
    splits.read_lists([name for name in tree.ending(".txt") if name not in files.names])
    if not files.names and (folders := _claim_folders(tree, classes.findings)):
        return folders
    if not (files.names or classes.lists or classes.configs or classes.findings):
        return None
    applied = apply_lists(classes, sorted(set(map(folder_of, files.names))))
    seen = _look_at_ranks(source, files) if files.ranked else _look(source, files, applied)
    rows = YoloRows(ranks=True) if files.ranked else understand_rows(seen.rows, classes.keypoints)
    configured = classes.configs.keys() | splits.used | {one.path for one in applied.lists} | applied.used
    return Claim(
        Format.YOLO,
        f"{len(files.names)} label files"
        + (f" and {', '.join(sorted(classes.configs)[:3])}" if classes.configs else ""),
        label_files=files.names,
        label_of=files.label_of,
        more_labels=files.more,
        unplaced=files.unplaced,
        lists=sorted(name for name in configured if name not in files.names),
        left=files.left,
        splits=splits.found,
        class_lists=applied.lists,
        class_list_of=applied.class_list_of,
        labels=_labels(applied.lists or classes.lists, seen),
        rows=rows,
        doubts=[*files.doubts(), *applied.doubts, *seen.doubts(rows, classes)],
        stops=applied.stops if files.names else (),
    )


def _claim_folders(tree: Tree, stops: Sequence[Finding]) -> Claim | None:
    """A classification set: images in `<split>/<label>/`, without label files. What names classes must be readable."""
    names = sorted({label for image in tree.images if (label := folder_class(image))})
    if not names:
        return None
    codes = numbers(len(tree.images))
    for number, image in enumerate(tree.images):
        codes[number] = number + 1 if folder_class(image) else 0
    labels = [LabelSpec(label, color(index)) for index, label in enumerate(names)]
    why = f"images in folders of {len(names)} classes"
    return Claim(Format.YOLO, why, label_of=Column(tree.images, codes, tree.images), labels=labels, stops=stops)


@dataclass(frozen=True, slots=True)
class _Files:
    names: Names
    label_of: Mapping[str, str]
    more: Mapping[str, Sequence[str]]
    unplaced: Mapping[str, Finding]
    left: Mapping[str, Left]
    siblings: Sequence[Doubt]
    ranked: bool

    def doubts(self) -> Iterator[Doubt]:
        """What somebody should look at."""
        yield from self.siblings
        if self.more:
            message = "images have several label files, which are joined"
            image, names = next(iter(self.more.items()))
            hint = "trainers read one of them: leave out those that do not belong to the set"
            yield Doubt("JOINED_LABELS", message, hint, len(self.more), f"{image}: {self.label_of[image]}, {names[0]}")


def _label_files(source: Source, tree: Tree, splits: SplitReader) -> _Files:
    texts = tree.ending(".txt").where(lambda name: name not in splits.used and _may_label(source, name))
    pairs = pair(texts, tree.index.stems, splits.found)
    kinds = {folder: kind_of_folder(source, names) for folder, names in _placed(texts, pairs).by(folder_of).items()}
    # What a classifier saw says less than label files: it counts where there are none.
    ranked = Text.RANKS in kinds.values() and Text.YOLO not in kinds.values()
    like = Text.RANKS if ranked else Text.YOLO
    folders = {folder for folder, kind in kinds.items() if kind in (like, Text.EMPTY, Text.BROKEN)}
    _drop(pairs.label_of, bytearray(folder_of(name) in folders for name in texts))
    more, unplaced = _further(texts, pairs, folders)
    unplaced |= dict(_orphans(source, tree, pairs.without, folders, like))
    flags = used(texts, pairs.label_of, chain(unplaced, *more.values()))
    other = {folder for folder, kind in kinds.items() if kind in (Text.OTHER_LABELS, Text.RANKS) and kind is not like}
    left = Column.of_all(texts.where(lambda name: folder_of(name) in other), Left.OTHER_FORMAT)
    siblings = list(pairs.doubts()) if pairs.label_of else ()
    return _Files(texts.flagged(flags), pairs.label_of, more, unplaced, left, siblings, ranked)


def _further(texts: Names, pairs: Pairs, folders: set[str]) -> tuple[Mapping[str, list[str]], dict[str, Finding]]:
    """The further label files of images that have one, and why others have no image.

    Images of one folder that differ in their ending are labelled by one file, as trainers see it.
    """
    more: defaultdict[str, list[str]] = defaultdict(list)
    unplaced: dict[str, Finding] = {}
    repeated = ((label, [image]) for label, image in pairs.repeated.items())
    for label, images in chain(pairs.undecided.items(), repeated):
        if folder_of(label) not in folders:
            continue
        if len(set(map(folder_of, images))) > 1:
            unplaced[label] = _undecided(label, images)
            continue
        number = texts.numbered(label) + 1
        for image in images:
            if pairs.label_of.give(image, number) != number:
                more[image].append(label)
    return more, unplaced


def _drop(label_of: Column[str], kept: Sequence[int]) -> None:
    """Leaves images the label files that are kept."""
    for place, code in enumerate(label_of.codes):
        if code and not kept[code - 1]:
            label_of.codes[place] = 0


def _may_label(source: Source, name: str) -> bool:
    return not is_list(name) or look_at(source, name) is Text.YOLO


def _placed(texts: Names, pairs: Pairs) -> Names:
    return texts.flagged(used(texts, pairs.label_of, [*pairs.undecided, *pairs.repeated]))


def _undecided(label: str, images: Sequence[str]) -> Finding:
    message = f"several images fit {label}: {', '.join(images[:4])}"
    return error("AMBIGUOUS_IMAGE", message, hint=SEVERAL_HINT, path=label)


def _orphans(source: Source, tree: Tree, names: Names, folders: set[str], like: Text) -> Iterator[tuple[str, Finding]]:
    """Label files whose image is missing: in a folder of label files, or called so, all that look like one."""
    for folder, members in names.by(folder_of).items():
        is_called_labels = _LABELS in folder.lower().split("/")
        if folder not in folders and not is_called_labels:
            continue
        kinds = (like, Text.EMPTY) if is_called_labels else (like,)
        for name in members if len(members) > SAMPLE else _like_labels(source, members, kinds):
            yield name, missing_image(tree.unread, name, f"no image belongs to {name}")


def _like_labels(source: Source, names: Sequence[str], kinds: Sequence[Text]) -> list[str]:
    return [name for name in names if look_at(source, name) in kinds]


@dataclass
class _Seen:
    """What a sample of the lines says; `nameless` are the class numbers in files that no list applies to.

    `named` are classes that lines name themselves, `shifted` the lists that seem to count from 1, by the label files
    that count from 0.
    """

    rows: list[Row] = field(default_factory=list)
    nameless: set[int] = field(default_factory=set)
    named: list[str] = field(default_factory=list)
    nameless_files: list[str] = field(default_factory=list)
    shifted: dict[str, str] = field(default_factory=dict)
    example: str = ""
    files: int = 0

    def look(self, name: str, lines: Sequence[str], applied: Applied) -> None:
        rows = [row for line in lines if line and isinstance(row := parse_row(line), Row)]
        self.files += 1
        if rows and not self.example:
            self.example = name
        self.rows += rows
        folder = folder_of(name)
        if folder in applied.class_list_of:
            listed = applied.lists[applied.class_list_of[folder]]
            if 0 not in listed.names and any(row.index == 0 for row in rows):
                self.shifted[name] = listed.path
        elif folder not in applied.stopped:
            self.nameless_files.append(name)
            self.nameless |= {int(row.index) for row in rows if row.index.is_integer() and row.index >= 0}

    def doubts(self, rows: YoloRows, classes: Classes) -> Iterator[Doubt]:
        count = len(self.rows)
        if self.nameless:
            message = "no list names the classes of label files; they are called by their numbers"
            if classes.without_names:
                message += f"; not understood as lists: {', '.join(classes.without_names[:3])}"
            hint = "add classes.txt with one name a line, or data.yaml with names"
            yield Doubt("NO_CLASS_NAMES", message, hint, len(self.nameless_files), self.nameless_files[0])
        if self.shifted:
            name, path = next(iter(self.shifted.items()))
            message = f"label files have objects of class 0, which lists do not name, such as {path}"
            hint = "let the list count from 0, as label files do: its names may all belong to the numbers before theirs"
            yield Doubt("UNKNOWN_CLASS", message, hint, len(self.shifted), name)
        if rows.ranks:
            message = "text files list classes with scores: these look like predictions; the best is the image's tag"
            yield Doubt("PREDICTIONS", message, "check that a person has looked at them", self.files, self.example)
        if rows.scores:
            message = (
                "at the end of each line stands a score: these look like predictions; the scores are kept as attributes"
            )
            yield Doubt("PREDICTIONS", message, "check that a person has looked at them", count, self.example)
        if rows.keypoints and not classes.keypoints:
            message = "each line holds a box and keypoints within it, by its numbers; the boxes are read"
            yield Doubt("KEYPOINTS_GUESSED", message, "add kpt_shape to data.yaml", count, self.example)
        if 2 * in_pixels(self.rows) > count:
            message = "most boxes have sides far above 1: they seem to be in pixels"
            hint = "YOLO wants fractions of the image's sides; export the labels again"
            yield Doubt("NOT_FRACTIONS", message, hint, in_pixels(self.rows), self.example)


def _look(source: Source, files: _Files, applied: Applied) -> _Seen:
    seen = _Seen()
    for name in sample(files.names):
        try:
            seen.look(name, read_lines(source, name), applied)
        except FormatError:
            continue  # the reader reports the file
    return seen


def _look_at_ranks(source: Source, files: _Files) -> _Seen:
    """Which classes a classifier saw as the best."""
    seen = _Seen()
    for name in sample(files.names):
        try:
            best = next((line for line in read_lines(source, name) if line), "")
        except FormatError:
            continue  # the reader reports the file
        seen.files += 1
        seen.example = seen.example or name
        if (found := rank_of(best)) and nfc(found[1]) not in seen.named:
            seen.named.append(nfc(found[1]))
    return seen


def _labels(lists: Sequence[ClassList], seen: _Seen) -> list[LabelSpec]:
    found: dict[str, str] = {}
    for one in lists:
        for number in sorted(one.names):
            found.setdefault(one.names[number], str(number) if len(lists) == 1 else "")
    for number in sorted(seen.nameless):
        found.setdefault(nameless(number), str(number))
    for name in sorted(seen.named):
        found.setdefault(name, "")
    return [LabelSpec(label, color(index), number) for index, (label, number) in enumerate(found.items())]
