"""Conditions under which an alias is put on a version: what was measured of it, and whether that is enough."""

import math
import operator
from collections.abc import Callable, Sequence

from bloomery_inference.model import Condition, Evaluation, Figure, ModelVersion
from bloomery_inference.names import DATASET_VERSION
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, Violations
from bloomery_kit.fields import check_text

COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
NOT_MET = "CONDITION_NOT_MET"
"""Reason of a refusal, and type of each of its violations."""
_MOST = 20
_LISTED = 12


def check_conditions(conditions: Sequence[Condition], dataset_version: str, violations: Violations) -> None:
    """Record a violation for everything that is wrong with conditions."""
    if len(conditions) > _MOST:
        violations.add("conditions", f"must be at most {_MOST}, not {len(conditions)}")
    for index, condition in enumerate(conditions):
        field = f"conditions[{index}]"
        check_text(condition.metric, f"{field}.metric", violations)
        check_text(condition.variant, f"{field}.variant", violations)
        if not condition.metric:
            violations.add(f"{field}.metric", "is required, such as test/map50")
        if condition.comparison not in COMPARISONS:
            violations.add(f"{field}.comparison", "is required")
        if not math.isfinite(condition.threshold):
            violations.add(f"{field}.threshold", "must be a number, not infinite")
    if dataset_version:
        DATASET_VERSION.check(dataset_version, "dataset_version", violations)


def figures(
    version: ModelVersion, evaluations: Sequence[Evaluation], conditions: Sequence[Condition], dataset_version: str
) -> tuple[tuple[Figure, ...], list[PreconditionViolation]]:
    """What was measured for each condition, by the newest of `evaluations` that has its metric; and what is not enough.

    They come newest first; the one of the job that made the version is the oldest. With `dataset_version` only what was
    measured on it counts. Of a variant only its own evaluations count, of the version itself only those of no variant.
    """
    content = version.content
    own = Evaluation(content.lineage.job, content.lineage.dataset_version, content.metrics, version.create_time)
    counted = [one for one in (*evaluations, own) if dataset_version in ("", one.dataset_version)]
    found = [(condition, _measured(condition, counted)) for condition in conditions]
    failures = [
        PreconditionViolation(NOT_MET, str(condition), _why(condition, figure, counted))
        for condition, figure in found
        if figure is None or not _is_met(figure)
    ]
    return tuple(figure for _, figure in found if figure), failures


def refuse(version: ModelVersion, failures: Sequence[PreconditionViolation]) -> None:
    """Raise FailedPrecondition CONDITION_NOT_MET with all failures, if there are any."""
    if failures:
        name = version.title
        told = "; ".join(f"{one.subject}: {one.description}" for one in failures)
        raise FailedPrecondition(NOT_MET, f"{name} does not meet the conditions: {told}", failures)


def _measured(condition: Condition, evaluations: Sequence[Evaluation]) -> Figure | None:
    for one in evaluations:
        if condition.metric in one.metrics and condition.variant == one.variant:
            return Figure(condition, one.metrics[condition.metric], one.job, one.dataset_version)
    return None


def _is_met(figure: Figure) -> bool:
    return COMPARISONS[figure.condition.comparison](figure.value, figure.condition.threshold)


def _why(condition: Condition, figure: Figure | None, evaluations: Sequence[Evaluation]) -> str:
    if figure:
        return f"it is {figure.value:.6g}, measured by {figure.job} on {figure.dataset_version or 'no dataset version'}"
    known = sorted({name for one in evaluations if one.variant == condition.variant for name in one.metrics})
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    there = f"there are {', '.join(known[:_LISTED])}{more}" if known else "nothing was"
    meant = [name for name in known if name.endswith(f"/{condition.metric}")]
    fix = f"say {' or '.join(meant)}" if meant else f"evaluate the {'variant' if condition.variant else 'version'}"
    return f"it was not measured, {there}; {fix}"
