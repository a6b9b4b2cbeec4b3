"""What is probably not meant about a version: it can be used, and whoever made it should know."""

from collections.abc import Iterator

from bloomery_dataset.model import Method, SplitPolicy, Statistics
from bloomery_dataset.splits import PARTS
from bloomery_vision.findings import Finding, warning

_CODES = {"train": "NO_TRAINING_IMAGES", "val": "NO_VALIDATION_IMAGES", "test": "NO_TEST_IMAGES"}
_OFFICIAL_HINT = (
    "if it should have some, import a list or folder of images for it that no other part has, or set their split; "
    "or divide by ratio, as with 80/10/10"
)


def advice(policy: SplitPolicy, statistics: Statistics) -> Iterator[Finding]:
    """Warnings about a version that was divided in that way, by code."""
    counts = {part.split: part.image_count for part in statistics.splits}
    for part, percent in zip(PARTS, policy.percents, strict=True):
        if not counts.get(part):
            yield from _empty(part, percent, policy.method, statistics.image_count)


def _empty(part: str, percent: int, method: Method, total: int) -> Iterator[Finding]:
    if method is Method.OFFICIAL:
        message = f"none of its {total} images is in {part} by the official split"
        yield warning(_CODES[part], message, hint=_OFFICIAL_HINT)
    elif percent:
        message = f"{percent} % of its {total} images are too few for {part} to have one"
        yield warning(_CODES[part], message, hint=f"add images, or give {part} a greater share")
