"""What the bytes of images add to a plan, which is made from names: which are copies, and which are no images."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from itertools import compress

from bloomery_annotation.importer.files import Files
from bloomery_vision.formats import Doubt, Plan
from bloomery_vision.formats.model import Split
from bloomery_vision.formats.packed import Column, Names
from bloomery_vision.formats.plan import no_split, split_conflict
from bloomery_vision.formats.split_lists import PRECEDENCE


@dataclass(frozen=True)
class Settled:
    """A plan that counts splits for the images that there will be.

    `labelled` are images without a label file of their own that a copy has one for, `some_repeat` whether any repeats.
    """

    plan: Plan
    labelled: Container[str] = frozenset()
    some_repeat: bool = False


def settle(plan: Plan, files: Files) -> Settled:
    """Put each image in the first split that any of its copies is in, and copies and what is no image in none."""
    count, example = files.repeated()
    changes = _Changes(plan)
    changes.leave_out(files.unusable())
    if not (count or any(changes.outside)):
        return Settled(plan)
    for copies in files.copies():
        changes.join(copies)
    without_place = changes.outside.count(1)
    settled = replace(plan, splits=changes.splits, without_place=without_place)
    doubts = [*_about_splits(settled, changes), *([_repeated(count, example)] if count else [])]
    return Settled(replace(settled, doubts=doubts), changes.images.flagged(changes.labelled), some_repeat=bool(count))


class _Changes:
    """The splits of a plan's images, as they are changed; of each image no more than some bytes.

    `outside` flags those that have no place in any split, `labelled` those that only a copy has a label file for.
    """

    def __init__(self, plan: Plan) -> None:
        self._label_of = plan.label_of
        self.images = Names.of(plan.images)
        self.splits = Column[Split](self.images, bytearray(len(self.images)), PRECEDENCE)
        self.outside, self.labelled = bytearray(len(self.images)), bytearray(len(self.images))
        self.conflicts, self.conflict = 0, ""
        for image, split in plan.splits.items():
            self.splits.give(image, PRECEDENCE.index(split) + 1)

    def leave_out(self, paths: Iterator[str]) -> None:
        """Some that are no images, as far as they were taken for any."""
        for path in paths:
            if (place := self.images.place(path)) is not None:
                self.splits.codes[place], self.outside[place] = 0, 1

    def join(self, copies: list[str]) -> None:
        """Images with the same bytes, of which the first stands for all."""
        first, *others = copies
        found = {code for path in copies if (code := self.splits.code(path))}
        self.leave_out(iter(others))
        if found:
            self.splits.codes[self.images.numbered(first)] = min(found)
        if len(found) > 1:
            self.conflicts, self.conflict = self.conflicts + 1, min(self.conflict or first, first)
        if first not in self._label_of and any(path in self._label_of for path in others):
            self.labelled[self.images.numbered(first)] = 1


def _about_splits(plan: Plan, changes: _Changes) -> Iterator[Doubt]:
    """The doubts of the plan, those about splits as they are now."""
    told = False
    count = len(plan.images) - plan.without_place - len(plan.splits)
    for doubt in plan.doubts:
        if doubt.code == "NO_SPLIT":
            if count:
                codes = zip(changes.splits.codes, changes.outside, strict=True)
                yield no_split(count, next(compress(plan.images, (not (code or outside) for code, outside in codes))))
        elif doubt.code == "SPLIT_CONFLICT" and changes.conflicts:
            told = True
            yield replace(doubt, count=doubt.count + changes.conflicts)
        else:
            yield doubt
    if changes.conflicts and not told:
        yield split_conflict(changes.conflicts, changes.conflict)


def _repeated(count: int, example: str) -> Doubt:
    message = "images have the same bytes as another one of the folder; each is imported once"
    return Doubt("REPEATED_IMAGE", message, "leave the copies out", count, example)
