"""Conditions on measurements, from what people write."""

import re

from bloomery.errors import InvalidArgument
from bloomery.inference.v1 import MetricCondition

_WRITTEN = re.compile(
    r"\s*(?P<metric>\S.*?)(?:\s+of\s+(?P<variant>[a-z0-9-]+))?\s*(?P<sign>>=|<=|>|<)\s*(?P<threshold>[-+.0-9eE]+)\s*"
)
_SIGNS = {
    ">=": MetricCondition.COMPARISON_AT_LEAST,
    ">": MetricCondition.COMPARISON_ABOVE,
    "<=": MetricCondition.COMPARISON_AT_MOST,
    "<": MetricCondition.COMPARISON_BELOW,
}
_WORDS = {number: sign for sign, number in _SIGNS.items()}


def condition(text: str) -> MetricCondition:
    """The condition that `text` is, such as "test/map50 >= 0.8", or "test/map50 of onnx-int8 >= 0.8" of a variant.

    Raises:
        InvalidArgument: it is none.
    """
    match = _WRITTEN.fullmatch(text)
    try:
        threshold = float(match["threshold"]) if match else None
    except ValueError:
        threshold = None
    if match is None or threshold is None:
        raise InvalidArgument(f"{text!r} is no condition", hint="write METRIC >= NUMBER, with one of >=, >, <=, <")
    return MetricCondition(
        metric=match["metric"],
        comparison=_SIGNS[match["sign"]],
        threshold=threshold,
        variant=match["variant"] or "",
    )


def written(condition: MetricCondition) -> str:
    """A condition as people write it."""
    of = f" of {condition.variant}" if condition.variant else ""
    return f"{condition.metric}{of} {_WORDS.get(condition.comparison, '?')} {condition.threshold:g}"
