"""Deployments: a version is brought in beside the one that serves, and takes its place once it is loaded."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from bloomery.inference.v1 import (
    CreateDeploymentRequest,
    DeleteDeploymentRequest,
    Deployment,
    GetModelAliasRequest,
    GetModelVersionRequest,
    ListDeploymentsRequest,
    ListModelAliasChangesRequest,
    PauseDeploymentRequest,
    ResumeDeploymentRequest,
    RollBackDeploymentRequest,
    SetModelAliasRequest,
    UpdateDeploymentRequest,
    WatchDeploymentRequest,
)
from bloomery_kit.feeds import watch_states
from tests.inference.asking import PETS, fields_of, subjects_of, until
from tests.inference.conftest import Service
from tests.inference.deploying import (
    LOADING,
    NAME,
    READY,
    V1,
    V2,
    V3,
    Scripted,
    create,
    get,
    reason_of,
    state,
    update,
    versions,
)

CHAMPION = f"{PETS}/aliases/champion"


async def served(service: Service, directory: Path, count: int = 2, *, version: str = V1) -> Scripted:
    """A deployment that serves a version on one replica."""
    await versions(service, directory, count)
    replica = Scripted(service)
    await create(service, version)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    return replica


async def alias_of(service: Service) -> str:
    return (await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))).model_version


async def test_the_first_version_serves_once_every_live_replica_has_loaded_it(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    created = await create(service, labels={"team": "doors"})
    assert (created.state, created.reason) == (Deployment.STATE_PENDING, "no replica of triton is live")
    assert (created.candidate.model_version, created.HasField("serving")) == (V1, False)
    first, second = Scripted(service), Scripted(service, id="r2")
    uid = created.candidate.uid
    second.refused[uid] = "the runtime cannot be reached"
    await second.report({uid: LOADING})
    await first.follow()
    waiting = await get(service)
    why = "pets@1 is being loaded by r2 (the runtime cannot be reached)"
    assert (waiting.state, waiting.reason) == (Deployment.STATE_PENDING, why)
    second.refused.clear()
    await second.follow()
    ready = await state(service, Deployment.STATE_READY)
    assert (ready.serving.uid, ready.HasField("candidate")) == (uid, False)
    assert (ready.generation, ready.observed_generation, dict(ready.labels)) == (1, 1, {"team": "doors"})
    told = [(one.id, one.live, one.observed_plan, one.serving.state) for one in ready.replicas]
    assert told == [("r1", True, ready.plan_generation, READY), ("r2", True, ready.plan_generation, READY)]


async def test_a_new_version_takes_over_when_it_is_loaded_and_the_old_one_drains(
    service: Service, tmp_path: Path
) -> None:
    replica = await served(service, tmp_path)
    updated = await update(service, model_version=V2)
    assert (updated.state, updated.serving.model_version) == (Deployment.STATE_PROGRESSING, V1)
    old, new = updated.serving.uid, updated.candidate.uid
    assert await replica.follow() == sorted([old, new])
    ready = await state(service, Deployment.STATE_READY)
    assert (ready.serving.uid, ready.previous.uid) == (new, old)
    plan = await until(replica.plan, lambda plan: len(plan.models) == 1)
    assert plan.models[0].uid == new


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one_serving_and_says_why(
    service: Service, tmp_path: Path
) -> None:
    replica = await served(service, tmp_path)
    uid = (await update(service, model_version=V2)).candidate.uid
    replica.refused[uid] = "INVALID_PROTOBUF: the graph is broken"
    planned = await replica.follow()
    failed = await state(service, Deployment.STATE_FAILED)
    assert failed.reason == "replica r1: INVALID_PROTOBUF: the graph is broken"
    assert (failed.serving.model_version, len(planned)) == (V1, 2)
    back = await service.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME))
    assert (back.state, back.model_version, back.HasField("candidate")) == (Deployment.STATE_READY, V1, False)
    assert [model.uid for model in (await replica.plan()).models] == [back.serving.uid]


async def test_a_version_that_can_be_loaded_after_all_takes_over_by_itself(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path)
    uid = (await update(service, model_version=V2)).candidate.uid
    replica.refused[uid] = "no room"
    await replica.follow()
    await state(service, Deployment.STATE_FAILED)
    replica.refused.clear()
    await replica.follow()
    assert (await state(service, Deployment.STATE_READY)).serving.uid == uid


async def test_the_alias_moves_in_the_moment_in_which_the_new_version_serves(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    created = await create(service, f"{PETS}/versions/champion")
    assert created.alias == "champion"
    replica = Scripted(service)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    await update(service, model_version=V2)
    assert await alias_of(service) == V1
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    assert await alias_of(service) == V2
    listed = await service.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=CHAMPION))
    newest = listed.model_alias_changes[0]
    assert (newest.from_version, newest.reason, newest.changer) == (V1, "deployment door", "owner")


async def test_an_alias_that_a_deployment_moves_is_moved_by_nobody_else(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    await create(service, f"{PETS}/versions/champion")
    same = await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V1))
    assert same.model_version == V1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V2))
    assert (reason_of(refused.value), subjects_of(refused.value)) == ("ALIAS_DEPLOYED", [NAME])
    assert "bloomery deploy update door --model pets@2" in str(refused.value.details())
    with pytest.raises(grpc.aio.AioRpcError) as again:
        await create(service, f"{PETS}/versions/champion", name=f"{NAME}-2")
    assert reason_of(again.value) == "ALIAS_DEPLOYED"
    await service.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME))
    await service.models.SetModelAlias(SetModelAliasRequest(name=CHAMPION, model_version=V2))


async def test_a_share_is_reached_when_the_candidate_is_loaded_and_may_grow_to_all(
    service: Service, tmp_path: Path
) -> None:
    replica = await served(service, tmp_path)
    await update(service, model_version=V2, traffic_percent=10)
    await replica.follow()
    shared = await state(service, Deployment.STATE_READY)
    assert (shared.serving.model_version, shared.candidate.model_version) == (V1, V2)
    assert (shared.traffic_percent, shared.reason) == (10, "pets@2 answers 10 %")
    whole = await update(service, traffic_percent=100)
    assert (whole.state, whole.serving.model_version) == (Deployment.STATE_READY, V2)


async def test_a_shadow_is_loaded_and_never_answers_until_it_gets_a_share(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path)
    await update(service, model_version=V2, shadow=True)
    await replica.follow()
    shadow = await state(service, Deployment.STATE_READY)
    assert (shadow.shadow, shadow.traffic_percent, shadow.reason) == (True, 0, "pets@2 is a shadow")
    shared = await update(service, traffic_percent=5)
    assert (shared.shadow, shared.traffic_percent) == (False, 5)


async def test_a_roll_back_brings_back_what_served_before_and_another_one_undoes_it(
    service: Service, tmp_path: Path
) -> None:
    replica = await served(service, tmp_path)
    await update(service, model_version=V2)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    for wanted in (V1, V2):
        await service.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME))
        await replica.follow()
        ready = await state(service, Deployment.STATE_READY)
        assert (ready.serving.model_version, ready.model_version) == (wanted, wanted)


async def test_a_roll_back_of_a_deployment_that_is_gone_is_no_answer_for_the_next_one_of_its_name(
    service: Service, tmp_path: Path
) -> None:
    request = RollBackDeploymentRequest(name=NAME, request_id="once")
    await versions(service, tmp_path)
    replica, uids = Scripted(service), set()
    for _ in range(2):
        await create(service)
        await replica.follow()
        await state(service, Deployment.STATE_READY)
        await update(service, model_version=V2)
        back = await service.deployments.RollBackDeployment(request)
        assert back == await service.deployments.RollBackDeployment(request)
        assert (await get(service)).model_version == V1
        uids.add(back.uid)
        await service.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME))
    assert len(uids) == 2


async def test_there_is_nothing_to_roll_back_before_a_second_version(service: Service, tmp_path: Path) -> None:
    await served(service, tmp_path)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME))
    assert reason_of(refused.value) == "NOTHING_TO_ROLL_BACK"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await update(service, traffic_percent=10)
    assert reason_of(missing.value) == "NO_CANDIDATE"


@pytest.mark.parametrize("share", [{"traffic_percent": 10}, {"shadow": True}], ids=["traffic", "shadow"])
async def test_what_serves_already_gets_no_share(service: Service, tmp_path: Path, share: dict[str, Any]) -> None:
    await served(service, tmp_path)
    with pytest.raises(grpc.aio.AioRpcError, match="serves that already") as refused:
        await update(service, model_version=V1, **share)
    assert reason_of(refused.value) == "NO_CANDIDATE"
    assert (await update(service, model_version=V1, traffic_percent=100)).model_version == V1


async def test_a_paused_deployment_takes_no_memory_and_comes_back_as_it_was(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path)
    for _ in range(2):
        paused = await service.deployments.PauseDeployment(PauseDeploymentRequest(name=NAME))
        assert (paused.state, paused.generation) == (Deployment.STATE_PAUSED, 2)
    assert await replica.follow() == []
    resumed = await service.deployments.ResumeDeployment(ResumeDeploymentRequest(name=NAME))
    assert resumed.state == Deployment.STATE_PROGRESSING
    assert await replica.follow() == [resumed.serving.uid]
    await state(service, Deployment.STATE_READY)


async def test_what_is_wanted_already_changes_nothing(service: Service, tmp_path: Path) -> None:
    await served(service, tmp_path)
    before = await get(service)
    assert await update(service, model_version=V1) == before
    candidate = await update(service, model_version=V2, traffic_percent=10)
    assert await update(service, model_version=V2, traffic_percent=10) == candidate
    given_up = await update(service, model_version=V1)
    assert (given_up.HasField("candidate"), given_up.state) == (False, Deployment.STATE_READY)


async def test_a_candidate_takes_the_place_of_another_one(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path, 3)
    await update(service, model_version=V2, traffic_percent=10)
    await update(service, model_version=V3)
    uids = await replica.follow()
    ready = await state(service, Deployment.STATE_READY)
    assert (ready.serving.model_version, ready.previous.model_version, len(uids)) == (V3, V1, 2)


async def test_bad_wishes_name_every_problem(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    wrong = Deployment(runtime="abacus", traffic_percent=10, model_version="x")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.deployments.CreateDeployment(
            CreateDeploymentRequest(parent="pets", deployment_id="A", deployment=wrong)
        )
    fields = ["parent", "deployment_id", "deployment.runtime", "deployment.traffic_percent"]
    assert fields_of(refused.value) == fields
    await create(service)
    with pytest.raises(grpc.aio.AioRpcError) as taken:
        await create(service)
    assert taken.value.code() is grpc.StatusCode.ALREADY_EXISTS
    with pytest.raises(grpc.aio.AioRpcError) as share:
        await update(service, model_version=V1, traffic_percent=101)
    assert fields_of(share.value) == ["deployment.traffic_percent"]
    with pytest.raises(grpc.aio.AioRpcError) as other:
        await update(service, model_version="projects/pets/models/cows/versions/1")
    assert fields_of(other.value) == ["deployment.model_version"]
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await update(service, model_version=V3)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_old_etag_is_refused(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path)
    etag = (await get(service)).etag
    await update(service, model_version=V2)
    await replica.follow()
    await state(service, Deployment.STATE_READY)
    for call in (
        service.deployments.UpdateDeployment(
            UpdateDeploymentRequest(deployment=Deployment(name=NAME, etag=etag, model_version=V1))
        ),
        service.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME, etag=etag)),
        service.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME, etag=etag)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.ABORTED


async def test_a_repeated_creation_gets_its_first_answer(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    request = CreateDeploymentRequest(
        parent="projects/pets", deployment_id="door", deployment=Deployment(model_version=V1), request_id="once"
    )
    first = await service.deployments.CreateDeployment(request)
    assert await service.deployments.CreateDeployment(request) == first


async def test_deployments_are_listed_by_id_and_by_model(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    for name in ("zebra", "ant"):
        await create(service, name=f"projects/pets/deployments/{name}")

    async def listed(**fields: object) -> list[str]:
        found = await service.deployments.ListDeployments(ListDeploymentsRequest(**fields))  # type: ignore[arg-type]
        return [one.name.rpartition("/")[2] for one in found.deployments]

    assert await listed(parent="projects/-") == ["ant", "zebra"]
    assert await listed(parent="projects/pets", page_size=1) == ["ant"]
    assert await listed(parent="projects/pets", filter=f"model:{PETS}") == ["ant", "zebra"]
    assert await listed(parent="projects/pets", filter="model:projects/pets/models/cows") == []
    assert await listed(parent="projects/cows") == []


async def test_a_watch_tells_every_state_and_ends_when_the_deployment_is_settled(
    service: Service, tmp_path: Path
) -> None:
    await versions(service, tmp_path, 1)
    await create(service)
    replica, told = Scripted(service), []
    async for one in service.deployments.WatchDeployment(WatchDeploymentRequest(name=NAME, until_settled=True)):
        told.append(one.state)
        if len(told) == 1:
            await replica.follow()
    assert (told[0], told[-1]) == (Deployment.STATE_PENDING, Deployment.STATE_READY)


async def test_a_watch_that_goes_on_at_the_present_state_gives_signs_of_life(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await versions(service, tmp_path, 1)
    made = await create(service)
    often = {**(watch_states.__kwdefaults__ or {}), "poll": 0.05, "heartbeat": 0.05}
    monkeypatch.setattr(watch_states, "__kwdefaults__", often)
    request = WatchDeploymentRequest(name=NAME, after_sequence=made.sequence)
    async with asyncio.timeout(20):
        async for one in service.deployments.WatchDeployment(request):
            assert one.sequence == made.sequence
            break


async def test_a_watch_ends_when_the_deployment_is_deleted(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    await create(service)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        async for _ in service.deployments.WatchDeployment(WatchDeploymentRequest(name=NAME)):
            await service.deployments.DeleteDeployment(DeleteDeploymentRequest(name=NAME))
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_version_without_a_form_for_the_runtime_is_refused(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(service, variant="onnx-int8")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    version = await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert (await create(service, variant="onnx-fp32")).candidate.uid == version.variants[0].uid


async def test_what_has_left_the_plan_is_waited_for_when_it_comes_back(service: Service, tmp_path: Path) -> None:
    replica = await served(service, tmp_path)
    await update(service, model_version=V2)
    both = await replica.follow()
    ready = await state(service, Deployment.STATE_READY)
    await until(replica.plan, lambda plan: len(plan.models) == 1)
    # A sign of life from before it has seen that plan.
    await replica.report(dict.fromkeys(both, READY))
    back = await service.deployments.RollBackDeployment(RollBackDeploymentRequest(name=NAME))
    assert (back.state, back.serving.uid) == (Deployment.STATE_PROGRESSING, ready.serving.uid)
    await replica.follow()
    assert (await state(service, Deployment.STATE_READY)).serving.uid == ready.previous.uid
