"""An alias is put on a version only if it is better than the one that is named, where that is asked for."""

import hashlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from bloomery.common.v1 import Artifact
from bloomery.inference.v1 import (
    BETTER_OTHER,
    GetModelAliasRequest,
    GetModelCardRequest,
    ListModelAliasChangesRequest,
    MetricCondition,
    ModelAlias,
    SetModelAliasRequest,
)
from bloomery.training.v1 import FeedItem, Job, JobKind, JobResult, JobState
from bloomery_inference.comparing import Comparing
from bloomery_kit.errors import error_info, to_status
from tests import databases
from tests.inference.asking import PETS, V1, fields_of
from tests.inference.conftest import Service
from tests.inference.models import write_finder
from tests.inference.samples import DATASET, evaluated, struct, trained, with_variant
from tests.inference.test_comparing import records
from tests.inference.test_promotion import CHAMPION, OTHER, at_least, fed

DATABASES = databases.SQLITE

V2 = f"{PETS}/versions/2"


async def evaluates(
    service: Service, sequence: int, version: str, right: int, *, dataset_version: str = DATASET, split: str = "test"
) -> FeedItem:
    """An evaluation of a classifier that is right about so many of 40 images, recorded by both services."""
    item = evaluated(sequence, {f"{split}/accuracy": right / 40}, version=version, dataset_version=dataset_version)
    key, content = f"p/{item.job.name}/records.parquet", records(right)
    await service.objects.put(key, content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    service.trainer.jobs[item.job.name] = Job(
        name=item.job.name,
        kind=JobKind.JOB_KIND_EVALUATE,
        state=JobState.JOB_STATE_SUCCEEDED,
        dataset_version=dataset_version,
        model_version=version,
        effective_parameters=struct({"split": split}),
        result=JobResult(artifacts=[Artifact(role="records", logical_key=key, digest=digest)]),
    )
    await fed(service, item)
    return item


async def if_better(service: Service, version: str = V2, *conditions: MetricCondition, **other: Any) -> ModelAlias:
    return await service.models.SetModelAlias(
        SetModelAliasRequest(name=CHAMPION, model_version=version, if_better=True, conditions=conditions, **other)
    )


async def refused(service: Service, *conditions: MetricCondition, **other: str) -> dict[str, str]:
    """What stands against version 2, by what was wanted."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await if_better(service, V2, *conditions, **other)
    assert error_info(to_status(caught.value)).reason == "CONDITION_NOT_MET"
    found = await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert found.model_version == V1
    failure = error_details_pb2.PreconditionFailure()
    assert any(detail.Unpack(failure) for detail in to_status(caught.value).details)
    return {one.subject: one.description for one in failure.violations}


@pytest.fixture
async def champion(service: Service) -> Service:
    """Two versions, the first of which is the champion."""
    await fed(service, trained(1), trained(2))
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    return service


async def test_a_better_version_takes_the_alias_and_the_figures_stay_in_its_history(champion: Service) -> None:
    first = await evaluates(champion, 3, V1, 12)
    second = await evaluates(champion, 4, V2, 36)
    made = await if_better(champion)
    assert made.model_version == V2
    said = made.comparison.comparison
    assert (said.model_version, said.other_model_version) == (V1, V2)
    assert (said.differences[0].value, said.differences[0].other_value) == (0.3, 0.9)
    assert said.differences[0].better == BETTER_OTHER
    assert (made.comparison.job, made.comparison.other_job) == (first.job.name, second.job.name)
    listed = await champion.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=CHAMPION))
    newest, oldest = listed.model_alias_changes
    assert newest.comparison == made.comparison
    assert not oldest.HasField("comparison")
    found = await champion.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert found.comparison == made.comparison


async def test_one_that_cannot_be_told_apart_is_refused_with_the_images_that_it_would_take(champion: Service) -> None:
    await evaluates(champion, 3, V1, 30)
    await evaluates(champion, 4, V2, 31)
    [(subject, told)] = (await refused(champion)).items()
    assert subject == "better than pets@1"
    assert "not distinguishable with 40 images, about " in told
    assert "test/accuracy is 0.775 instead of 0.75" in told


async def test_a_worse_one_is_refused_with_everything_else_that_is_not_met(champion: Service) -> None:
    await evaluates(champion, 3, V1, 36)
    await evaluates(champion, 4, V2, 12)
    found = await refused(champion, at_least(0.9))
    assert found.keys() == {"test/map50 >= 0.9", "better than pets@1"}
    assert found["better than pets@1"].startswith("it is worse: test/accuracy is 0.3 instead of 0.9")


async def test_what_was_not_measured_is_told_with_the_command_that_does(champion: Service) -> None:
    told = (await refused(champion))["better than pets@1"]
    assert "bloomery models better pets@1 pets@2 --on pets-v@1 --split test" in told
    await evaluates(champion, 3, V1, 12, dataset_version=OTHER)
    await evaluates(champion, 4, V2, 36)
    await evaluates(champion, 5, V2, 36, split="val")
    assert "not evaluated on the same images" in (await refused(champion))["better than pets@1"]
    assert "--split val" in (await refused(champion, split="val"))["better than pets@1"]
    await evaluates(champion, 6, V1, 12)
    assert "--on pets-v@2" in (await refused(champion, dataset_version=OTHER))["better than pets@1"]
    assert (await if_better(champion)).model_version == V2


async def test_evaluations_that_are_gone_or_differ_are_told(champion: Service) -> None:
    first = await evaluates(champion, 3, V1, 12)
    second = await evaluates(champion, 4, V2, 36)
    champion.trainer.jobs[second.job.name].effective_parameters.update({"multi_label": True})
    assert "multi_label" in (await refused(champion))["better than pets@1"]
    third = await evaluates(champion, 5, V2, 36)
    del champion.trainer.jobs[first.job.name]
    assert f"{first.job.name} or {second.job.name} was deleted" in (await refused(champion))["better than pets@1"]
    fourth = await evaluates(champion, 6, V1, 12)
    del champion.trainer.jobs[fourth.job.name], champion.trainer.jobs[third.job.name]
    await refused(champion)
    older = await evaluates(champion, 7, V1, 12), await evaluates(champion, 8, V2, 36)
    champion.trainer.jobs[(await evaluates(champion, 9, V2, 36)).job.name].effective_parameters["multi_label"] = True
    made = await if_better(champion)
    assert (made.comparison.job, made.comparison.other_job) == tuple(one.job.name for one in older)


async def test_where_nothing_is_named_yet_or_the_version_itself_there_is_nothing_to_be_better_than(
    service: Service,
) -> None:
    await fed(service, trained(1))
    assert not (await if_better(service, V1)).HasField("comparison")
    assert (await if_better(service, V1)).model_version == V1


async def test_an_alias_that_moves_during_the_comparison_is_not_moved_again(
    champion: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fed(champion, trained(3))
    await evaluates(champion, 4, V1, 12)
    await evaluates(champion, 5, V2, 36)
    compare = Comparing.compare

    async def slow(self: Comparing, first: str, other: str) -> object:
        third = SetModelAliasRequest(name=CHAMPION, model_version=f"{PETS}/versions/3")
        await champion.models.SetModelAlias(third)
        return await compare(self, first, other)

    monkeypatch.setattr(Comparing, "compare", slow)
    with pytest.raises(grpc.aio.AioRpcError, match="names version 3"):
        await if_better(champion)
    found = await champion.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert found.model_version == f"{PETS}/versions/3"


async def test_an_unknown_split_is_refused(champion: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await if_better(champion, split="tset")
    assert fields_of(caught.value) == ["split"]


def of_variant(item: FeedItem, made: FeedItem) -> FeedItem:
    """The evaluation, as one of the variant that `made` has."""
    item.job.model_variant = f"{item.job.model_version}/variants/onnx-fp32"
    item.job.ClearField("base_artifact")
    item.job.variant_artifacts.extend(one for one in made.result.artifacts if one.role.startswith("variant/"))
    return item


async def test_an_evaluation_of_a_variant_counts_only_where_it_is_asked_for(service: Service, tmp_path: Path) -> None:
    made = await with_variant(trained(1), service.objects, write_finder(tmp_path, side=32))
    await fed(service, made, of_variant(evaluated(2, {"test/map50": 0.9}), made))
    card = await service.models.GetModelCard(GetModelCardRequest(name=V1))
    assert [(one.variant, one.metrics["test/map50"]) for one in card.evaluations] == [("onnx-fp32", 0.9)]
    wanted = SetModelAliasRequest(name=CHAMPION, model_version=V1, conditions=[at_least(0.8)])
    with pytest.raises(grpc.aio.AioRpcError, match=r"it is 0\.75"):
        await service.models.SetModelAlias(wanted)
    wanted.conditions[0].metric = "map50"
    with pytest.raises(grpc.aio.AioRpcError, match=r"it was not measured, .*; say test/map50"):
        await service.models.SetModelAlias(wanted)
    wanted.conditions[0].metric = "test/map50"
    wanted.conditions[0].variant = "onnx-fp32"
    [figure] = (await service.models.SetModelAlias(wanted)).figures
    assert (figure.value, figure.condition.variant) == (0.9, "onnx-fp32")
    wanted.conditions[0].variant = "onnx-int8"
    with pytest.raises(grpc.aio.AioRpcError, match=r"test/map50 of onnx-int8 >= 0\.8: it was not measured"):
        await service.models.SetModelAlias(wanted)


async def test_an_evaluation_of_a_variant_that_was_made_anew_does_not_count(service: Service, tmp_path: Path) -> None:
    made = await with_variant(trained(1), service.objects, write_finder(tmp_path, side=32))
    item = of_variant(evaluated(2, {"test/map50": 0.9}), made)
    item.job.variant_artifacts[0].digest = f"sha256:{'f' * 64}"
    await fed(service, made, item)
    assert not (await service.models.GetModelCard(GetModelCardRequest(name=V1))).evaluations
