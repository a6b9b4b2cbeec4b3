"""What is probably not meant about a job that may well be done: warnings from what its dataset version counts."""

import math
from collections.abc import Mapping, Sequence

from bloomery.common.v1 import Problem
from bloomery_trainer.neighbours import DatasetFacts

_SIDE = 8
"""Pixels of a model's input: of smaller objects a detector has not one place of its finest grid."""
_STRIDE = 32


def advice(dataset: DatasetFacts | None, parameters: Mapping[str, object]) -> list[Problem]:
    """What the dataset service says of a version, and SMALL_OBJECTS where `imgsz` leaves little of some objects."""
    if dataset is None:
        return []
    size = parameters.get("imgsz")
    small = _small_objects(dataset.relative_sides, int(size)) if isinstance(size, (int, float)) else None
    return [*dataset.warnings, *([small] if small else [])]


def _small_objects(deciles: Sequence[float], size: int) -> Problem | None:
    """A warning where at least a tenth of the objects has a side of less than 8 pixels in the model's input."""
    tenths = sum(decile * size < _SIDE for decile in deciles[1:])
    if not tenths:
        return None
    enough = _STRIDE * math.ceil(_SIDE / deciles[1] / _STRIDE) if deciles[1] else 0
    larger = f"choose imgsz={enough}, at which nine tenths are larger" if enough else "cut the images into tiles"
    return Problem(
        severity=Problem.SEVERITY_WARNING,
        code="SMALL_OBJECTS",
        message=f"at imgsz={size} {tenths * 10} % of the objects or more have a side of less than {_SIDE} pixels",
        hint=f"{larger}, or crop the images before they are imported",
    )
