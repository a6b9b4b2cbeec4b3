"""How a folder is understood, in words: for `bloomery import --plan`, and below the summary of every import."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from bloomery._names import counted
from bloomery.cli._options import Output
from bloomery.cli._output import is_terminal, show

if TYPE_CHECKING:
    from bloomery import Import
    from bloomery.annotation.v1 import Import as ImportMessage
    from bloomery.annotation.v1 import ImportClassList, ImportFiles, ImportLeft, ImportPlan, ImportSplitList
    from bloomery.common.v1 import Problem

_MOST = 10
_NAMES = 20
_ENDINGS = 8

_ONE_LEFT: Mapping[str, str] = {
    "mask": "picture of masks",
    "picture_not_read": "picture of a kind that is not read",
    "video": "video",
    "other_format": "file of labels in another format",
    "other_kind": "COCO file of another kind",
    "not_labels": "file that says nothing of the images",
    "other": "other file",
}
_LEFT: Mapping[str, str] = {
    "mask": "pictures of masks",
    "picture_not_read": "pictures of kinds that are not read",
    "video": "videos",
    "other_format": "files of labels in other formats",
    "other_kind": "COCO files of other kinds",
    "not_labels": "files that say nothing of the images",
    "other": "other files",
}


def show_plan(done: "Import", output: Output) -> None:
    """Print a plan."""
    plan = done.plan
    rows: dict[str, object] = {
        "name": done.name,
        "format": done.format,
        "images": plan.image_count,
        "labelled": plan.labelled_count,
        "not labelled": _files(plan.unlabelled),
        "label files": plan.label_file_count,
        "without image": _files(plan.without_image),
        "class lists": _lines(map(_class_list, plan.class_lists), plan.class_list_count),
        "classes": _some([one.name for one in plan.classes], plan.class_count),
        "splits": splits(plan),
        "split by": _lines(map(_split_list, plan.split_lists), plan.split_list_count),
        "left alone": "\n".join(f"{_reason(one)}: {_files(one.files)}" for one in plan.left),
    }
    show(plan, rows, output)
    if output is Output.table:
        tell_unsent(done.skipped)
        tell_doubts(plan)
        for stop in plan.stops:
            tell(f"{stop.code}: {stop.message}; {stop.hint}", "cannot be imported", "red")


def splits(plan: "ImportPlan") -> str:
    """How many images are in which split."""
    if not plan.split_counts:
        return ""
    counts = [f"{split} {plan.split_counts[split]}" for split in ("train", "val", "test") if split in plan.split_counts]
    return ", ".join([*counts, f"none {plan.without_split_count}"] if plan.without_split_count else counts)


def left(plan: "ImportPlan") -> str:
    """How many files are left alone, by reason."""
    return "\n".join(f"{one.files.count} {_counted_reason(one)}{_endings(one)}" for one in plan.left)


def tell_unsent(skipped: Mapping[str, int]) -> None:
    """Print which files the server was not even told of."""
    from bloomery._folders import untold

    for reason, count in untold(skipped).items():
        tell(f"NAME_NOT_SENT {count}: {reason}; rename the files", "doubt")


def tell_doubts(plan: "ImportPlan") -> None:
    """Print what the server is not sure of, each kind once."""
    for doubt in plan.doubts:
        example = f" (such as {doubt.example})" if doubt.example else ""
        tell(f"{doubt.code} {doubt.count}: {doubt.message}{example}; {doubt.hint}", "doubt")


def tell_problems(done: "Import") -> None:
    """Print what was wrong with single files, each kind once."""
    lines = list(_by_kind(done.proto))
    for line in lines[:_MOST]:
        tell(line, "problem")
    if len(lines) > _MOST:
        tell(f"... {counted(len(lines) - _MOST, 'more kind')} of problems")
    if lines:
        counts = counted(done.proto.problem_count, "problem")
        tell(f"all {counts}: bloomery imports show {done.name} -o json")


def tell(text: str, word: str = "", style: str = "yellow") -> None:
    """Print a line beside the result, behind a word that stands out."""
    before = f"{word} " if word else ""
    if not is_terminal(sys.stderr):
        sys.stderr.write(f"{before}{text}\n")
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble((before, style), text))


def _by_kind(proto: "ImportMessage") -> Iterator[str]:
    firsts: dict[str, Problem] = {}
    for problem in proto.problems:
        firsts.setdefault(problem.code, problem)
    counts = proto.problem_counts or Counter(problem.code for problem in proto.problems)
    for code, first in sorted(firsts.items(), key=lambda one: -counts[one[0]]):
        count = counts[code]
        where = first.path or first.item
        yield f"{code} {count}: {where}: {first.message}" + (f"; {first.hint}" if first.hint else "")


def _reason(one: "ImportLeft") -> str:
    return _LEFT.get(one.reason, one.reason)


def _counted_reason(one: "ImportLeft") -> str:
    return _ONE_LEFT.get(one.reason, one.reason) if one.files.count == 1 else _reason(one)


def _endings(one: "ImportLeft") -> str:
    endings = Counter(PurePosixPath(path).suffix.lower() or "without ending" for path in one.files.paths)
    return f" ({', '.join(ending for ending, _ in endings.most_common(_ENDINGS))})" if endings else ""


def _class_list(one: "ImportClassList") -> str:
    names = [one.names[number] for number in sorted(one.names)]
    folders = [folder or "." for folder in one.folders]
    return f"{one.path} ({_some(names, one.name_count)}) for {_some(folders, one.folder_count)}"


def _split_list(one: "ImportSplitList") -> str:
    return f"{one.path}: {one.split}, {counted(one.image_count, 'image')}"


def _lines(lines: Iterable[str], count: int) -> str:
    shown = list(islice(lines, _NAMES))
    return "\n".join([*shown, f"... ({count})"] if count > len(shown) else shown)


def _files(files: "ImportFiles") -> str:
    return f"{files.count}: {_some(files.paths, files.count)}" if files.count else ""


def _some(names: Sequence[str], count: int) -> str:
    shown = ", ".join(names[:_NAMES])
    return f"{shown}, ... ({count})" if count > _NAMES else shown
