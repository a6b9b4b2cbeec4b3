"""Between protobuf and aliases."""

from collections.abc import Mapping

from google.protobuf.json_format import ParseDict

from bloomery.inference.v1 import (
    AliasComparison,
    ConditionFigure,
    MetricCondition,
    ModelAlias,
    ModelAliasChange,
    SetModelAliasRequest,
)
from bloomery_inference.model import Alias, AliasChange, Condition, Figure, Json
from bloomery_inference.moves import DEFAULT_SPLIT, Move
from bloomery_inference.names import ALIAS, VERSION
from bloomery_kit.times import to_timestamp

_COMPARISONS = {
    MetricCondition.COMPARISON_AT_LEAST: ">=",
    MetricCondition.COMPARISON_ABOVE: ">",
    MetricCondition.COMPARISON_AT_MOST: "<=",
    MetricCondition.COMPARISON_BELOW: "<",
}
_NUMBERS = {sign: number for number, sign in _COMPARISONS.items()}


def move_of(request: SetModelAliasRequest) -> Move:
    """What a caller wants of an alias."""
    return Move(
        name=request.name,
        model_version=request.model_version,
        expected=request.expected_version if request.HasField("expected_version") else None,
        reason=request.reason,
        conditions=tuple(
            Condition(one.metric, _COMPARISONS.get(one.comparison, ""), one.threshold, one.variant)
            for one in request.conditions
        ),
        dataset_version=request.dataset_version,
        if_better=request.if_better,
        split=request.split or DEFAULT_SPLIT,
    )


def alias_message(alias: Alias) -> ModelAlias:
    """An alias as the contract shows it."""
    return ModelAlias(
        name=ALIAS.format(project=alias.project, model=alias.model, alias=alias.id),
        model_version=VERSION.format(project=alias.project, model=alias.model, version=alias.number),
        update_time=to_timestamp(alias.update_time),
        updater=alias.updater,
        reason=alias.reason,
        figures=map(_figure_message, alias.figures),
        comparison=_comparison(alias.comparison),
    )


def change_message(change: AliasChange) -> ModelAliasChange:
    """A change of an alias as the contract shows it."""
    return ModelAliasChange(
        sequence=change.sequence,
        from_version=_version(change, change.from_version),
        to_version=_version(change, change.to_version),
        changer=change.changer,
        reason=change.reason,
        figures=map(_figure_message, change.figures),
        create_time=to_timestamp(change.create_time),
        comparison=_comparison(change.comparison),
    )


def _comparison(stored: Mapping[str, Json] | None) -> AliasComparison | None:
    # A later version may have written it, and know more of it.
    return None if stored is None else ParseDict(dict(stored), AliasComparison(), ignore_unknown_fields=True)


def _figure_message(figure: Figure) -> ConditionFigure:
    wanted = figure.condition
    condition = MetricCondition(
        metric=wanted.metric,
        comparison=_NUMBERS[wanted.comparison],
        threshold=wanted.threshold,
        variant=wanted.variant,
    )
    return ConditionFigure(
        condition=condition, value=figure.value, job=figure.job, dataset_version=figure.dataset_version
    )


def _version(change: AliasChange, number: int) -> str:
    return VERSION.format(project=change.project, model=change.model, version=number) if number else ""
