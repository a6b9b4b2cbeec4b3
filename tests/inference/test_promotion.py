"""An alias is put on a version under conditions only if enough was measured of it."""

import asyncio
import math

import grpc
import pytest

from bloomery.inference.v1 import (
    DeleteModelVersionRequest,
    GetModelAliasRequest,
    ListModelAliasChangesRequest,
    MetricCondition,
    ModelAlias,
    SetModelAliasRequest,
)
from bloomery.training.v1 import FeedItem
from bloomery_inference.store import results
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import PETS, V1, fields_of, recorded, subjects_of, until
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, evaluated, trained

CHAMPION = f"{PETS}/aliases/champion"
OTHER = "projects/pets/datasets/pets-v/versions/2"


def at_least(threshold: float, metric: str = "test/map50") -> MetricCondition:
    return MetricCondition(metric=metric, comparison=MetricCondition.COMPARISON_AT_LEAST, threshold=threshold)


async def promote(service: Service, *conditions: MetricCondition, version: str = V1, on: str = "") -> ModelAlias:
    request = SetModelAliasRequest(name=CHAMPION, model_version=version, conditions=conditions, dataset_version=on)
    return await service.models.SetModelAlias(request)


async def fed(service: Service, *items: FeedItem) -> None:
    """Let the service read results to the last."""
    service.trainer.feed += items

    async def read() -> int:
        async with service.app._db.read() as tx:
            return await results.feed_sequence(tx, "job-results")

    await until(read, lambda sequence: sequence >= items[-1].result.sequence)


async def figures(service: Service) -> list[tuple[str, float, str, str]]:
    listed = await service.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=CHAMPION))
    return [
        (one.condition.metric, one.value, one.job, one.dataset_version) for one in listed.model_alias_changes[0].figures
    ]


async def test_the_training_s_own_figures_count_and_are_kept(service: Service) -> None:
    item = trained(1)
    await fed(service, item)
    await promote(service, at_least(0.75))
    assert await figures(service) == [("test/map50", 0.75, item.job.name, DATASET)]
    found = await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert [one.value for one in found.figures] == [0.75]


async def test_of_several_evaluations_the_newest_that_has_the_metric_counts(service: Service) -> None:
    first = evaluated(2, {"test/map50": 0.9, "test/map50_95": 0.5}, dataset_version=OTHER)
    second = evaluated(3, {"test/map50": 0.6})
    await fed(service, trained(1), first, second)
    with pytest.raises(grpc.aio.AioRpcError, match=r"0\.6, measured by .*evaluate") as refused:
        await promote(service, at_least(0.7), at_least(0.4, "test/map50_95"))
    assert subjects_of(refused.value) == ["test/map50 >= 0.7"]
    await promote(service, at_least(0.6), at_least(0.4, "test/map50_95"))
    assert await figures(service) == [
        ("test/map50", 0.6, second.job.name, DATASET),
        ("test/map50_95", 0.5, first.job.name, OTHER),
    ]


async def test_only_what_was_measured_on_the_dataset_version_that_is_named_counts(service: Service) -> None:
    await fed(service, trained(1), evaluated(2, {"test/map50": 0.9}, dataset_version=OTHER))
    with pytest.raises(grpc.aio.AioRpcError):
        await promote(service, at_least(0.8), on=DATASET)
    await promote(service, at_least(0.8), on=OTHER)


async def test_a_refusal_lists_every_condition_that_is_not_met_and_moves_nothing(service: Service) -> None:
    await fed(service, trained(1), trained(2))
    await promote(service, version=f"{PETS}/versions/2")
    below = MetricCondition(metric="test/map50", comparison=MetricCondition.COMPARISON_BELOW, threshold=0.75)
    with pytest.raises(grpc.aio.AioRpcError, match="not measured") as refused:
        await promote(service, at_least(0.8), below, at_least(0.1), at_least(0.5, "test/map75"))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(to_status(refused.value)).reason == "CONDITION_NOT_MET"
    assert subjects_of(refused.value) == ["test/map50 >= 0.8", "test/map50 < 0.75", "test/map75 >= 0.5"]
    found = await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert found.model_version == f"{PETS}/versions/2"


async def test_conditions_are_looked_at_also_where_it_is_already(service: Service) -> None:
    await fed(service, trained(1))
    await promote(service)
    with pytest.raises(grpc.aio.AioRpcError):
        await promote(service, at_least(0.8))
    assert [one.value for one in (await promote(service, at_least(0.7))).figures] == [0.75]


@pytest.mark.parametrize(("sign", "met"), [("AT_LEAST", True), ("ABOVE", False), ("AT_MOST", True), ("BELOW", False)])
async def test_the_threshold_itself_counts_as_it_is_written(service: Service, sign: str, met: bool) -> None:
    await fed(service, trained(1))
    comparison = MetricCondition.Comparison.Value(f"COMPARISON_{sign}")
    condition = MetricCondition(metric="test/map50", comparison=comparison, threshold=0.75)
    [outcome] = await asyncio.gather(promote(service, condition), return_exceptions=True)
    assert isinstance(outcome, ModelAlias) is met


async def test_an_evaluation_of_other_weights_under_the_same_name_does_not_count(service: Service) -> None:
    await fed(service, trained(1), evaluated(2, {"test/map50": 0.9}, digest=f"sha256:{'b' * 64}"))
    with pytest.raises(grpc.aio.AioRpcError, match=r"0\.75"):
        await promote(service, at_least(0.8))


async def test_an_evaluation_of_what_is_gone_is_no_trouble(service: Service) -> None:
    await fed(service, trained(1), evaluated(2, {"test/map50": 0.9}))
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await fed(service, evaluated(3, {"test/map50": 0.9}), evaluated(4, {}, version=""), trained(5))
    await recorded(service, f"{PETS}/versions/2")


async def test_everything_wrong_with_conditions_is_told_at_once(service: Service) -> None:
    await fed(service, trained(1))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await promote(service, MetricCondition(threshold=math.inf), at_least(math.nan), on="cells")
    assert set(fields_of(refused.value)) == {
        "conditions[0].metric",
        "conditions[0].comparison",
        "conditions[0].threshold",
        "conditions[1].threshold",
        "dataset_version",
    }
