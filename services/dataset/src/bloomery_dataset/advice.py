"""What is probably not meant about a version: it can be used, and whoever made it should know."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from bloomery_dataset.model import Method, Spec, Statistics
from bloomery_dataset.splits import PARTS
from bloomery_vision.findings import Finding, warning

_CODES = {"train": "NO_TRAINING_IMAGES", "val": "NO_VALIDATION_IMAGES", "test": "NO_TEST_IMAGES"}
_FEW = 10
"""Examples of a class below which no method learns it."""
_SHOWN = 5
_OFFICIAL_HINT = (
    "if it should have some, import a list or folder of images for it that no other part has, or set their split; "
    "or divide by ratio, as with 80/10/10"
)


def advice(spec: Spec, statistics: Statistics, classes: Sequence[str] = ()) -> Iterator[Finding]:
    """Warnings about a version that was made in that way, by code."""
    counts = {part.split: part.image_count for part in statistics.splits}
    for part, percent in zip(PARTS, spec.split.percents, strict=True):
        if not counts.get(part):
            yield from _empty(part, percent, spec, statistics.image_count)
    yield from _about_classes(statistics, classes)
    if statistics.copies_apart:
        message = f"{statistics.copies_apart} images are copies of images of another part, as their names (.rf.) say"
        hint = "figures of val and test flatter a model that has learnt their copies: import the images without copies"
        yield warning("COPIES_IN_SEVERAL_PARTS", message, hint=hint)


def _about_classes(statistics: Statistics, classes: Sequence[str]) -> Iterator[Finding]:
    counts = {part.split: part.shapes for part in statistics.splits}
    images = {part.split: part.image_count for part in statistics.splits}
    train, val, test = (counts.get(part, {}) for part in PARTS)
    if tiny := [name for name in classes if 0 < train.get(name, 0) < _FEW]:
        told = _listed(f"{name}: {train[name]}" for name in tiny)
        message = f"classes have fewer than {_FEW} examples to learn from ({told})"
        yield warning("TINY_CLASS", message, hint="label more of them, or map them to other classes")
    if images.get("train") and (never := [name for name in classes if not train.get(name) and _any(name, val, test)]):
        message = f"classes are in val or test and not in train ({_listed(never)})"
        yield warning("CLASS_WITHOUT_TRAINING_IMAGES", message, hint="label more of them, or divide with another seed")
    if images.get("val") and (unseen := [name for name in classes if train.get(name) and not val.get(name)]):
        message = f"classes are in train and not in val ({_listed(unseen)}), so that no epoch is judged by them"
        hint = "label more of them, divide with another seed, or give val a greater share"
        yield warning("CLASS_WITHOUT_VALIDATION_IMAGES", message, hint=hint)


def _any(name: str, *counts: Mapping[str, int]) -> bool:
    return any(each.get(name) for each in counts)


def _listed(names: Iterable[str]) -> str:
    first = [*islice(it := iter(names), _SHOWN)]
    left = sum(1 for _ in it)
    return ", ".join(first) + (f" and {left} more" if left else "")


def _empty(part: str, percent: int, spec: Spec, total: int) -> Iterator[Finding]:
    if spec.of_version:
        message = f"none of its {total} images is in {part}, as in {spec.of_version}, whose split they keep"
        hint = f"if it should have some, build the version that is cut with boxes in {part}, and cut that one"
        yield warning(_CODES[part], message, hint=hint)
    elif spec.split.method is Method.OFFICIAL:
        message = f"none of its {total} images is in {part} by the official split"
        yield warning(_CODES[part], message, hint=_OFFICIAL_HINT)
    elif percent:
        message = f"{percent} % of its {total} images are too few for {part} to have one"
        yield warning(_CODES[part], message, hint=f"add images, or give {part} a greater share")
