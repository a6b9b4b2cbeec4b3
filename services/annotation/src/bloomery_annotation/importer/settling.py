"""What the bytes of images add to a plan, which is made from names: which are copies, and which are no images."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from bloomery_annotation.importer.files import Files
from bloomery_vision.formats import Doubt, Plan
from bloomery_vision.formats.model import Split
from bloomery_vision.formats.plan import no_split, split_conflict
from bloomery_vision.formats.split_lists import PRECEDENCE


@dataclass(frozen=True)
class Settled:
    """A plan that counts splits for the images that there will be.

    `labelled` are images without a label file of their own that a copy has one for, `some_repeat` whether any repeats.
    """

    plan: Plan
    labelled: AbstractSet[str] = frozenset()
    some_repeat: bool = False


def settle(plan: Plan, files: Files) -> Settled:
    """Put each image in the first split that any of its copies is in, and copies and what is no image in none."""
    count, example = files.repeated()
    unusable = _unusable(plan, files)
    if not (count or unusable):
        return Settled(plan)
    changes: dict[str, Split | None] = dict.fromkeys(unusable)
    conflicts, labelled = list[str](), set[str]()
    for first, *others in files.copies():
        found = {split for path in (first, *others) if (split := plan.splits.get(path))}
        changes |= dict.fromkeys(others)
        if found:
            changes[first] = min(found, key=PRECEDENCE.index)
        conflicts += [first] if len(found) > 1 else []
        if first not in plan.label_of and any(path in plan.label_of for path in others):
            labelled.add(first)
    settled = replace(plan, splits=_Changed(plan.splits, changes), without_place=count + len(unusable))
    doubts = [*_about_splits(settled, changes, conflicts), *([_repeated(count, example)] if count else [])]
    return Settled(replace(settled, doubts=doubts), labelled, some_repeat=bool(count))


def _unusable(plan: Plan, files: Files) -> Sequence[str]:
    """In order, as each replica must find the same."""
    return [path for path in files.unusable() if path in plan.images]


class _Changed(Mapping[str, Split]):
    """Splits, some of them others or none."""

    def __init__(self, splits: Mapping[str, Split], changes: Mapping[str, Split | None]) -> None:
        self._splits, self._changes = splits, changes
        there = sum(path in splits for path in changes)
        self._count = len(splits) - there + sum(split is not None for split in changes.values())

    def __getitem__(self, path: str) -> Split:
        split = self._changes[path] if path in self._changes else self._splits[path]
        if split is None:
            raise KeyError(path)
        return split

    def __iter__(self) -> Iterator[str]:
        yield from (path for path in self._splits if path not in self._changes)
        yield from (path for path, split in self._changes.items() if split is not None)

    def __len__(self) -> int:
        return self._count


def _about_splits(plan: Plan, changes: Mapping[str, Split | None], conflicts: Sequence[str]) -> Iterator[Doubt]:
    """The doubts of the plan, those about splits as they are now."""
    told = False
    count = len(plan.images) - plan.without_place - len(plan.splits)
    for doubt in plan.doubts:
        if doubt.code == "NO_SPLIT":
            if count:
                without = (image for image in plan.images if image not in plan.splits and image not in changes)
                yield no_split(count, next(without))
        elif doubt.code == "SPLIT_CONFLICT" and conflicts:
            told = True
            yield replace(doubt, count=doubt.count + len(conflicts))
        else:
            yield doubt
    if conflicts and not told:
        yield split_conflict(len(conflicts), min(conflicts))


def _repeated(count: int, example: str) -> Doubt:
    message = "images have the same bytes as another one of the folder; each is imported once"
    return Doubt("REPEATED_IMAGE", message, "leave the copies out", count, example)
