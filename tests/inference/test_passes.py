"""What one result, variant, cleanup or hold meets holds up no other, and no step of the housekeeping another."""

from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from bloomery.inference.v1 import (
    DeleteModelVersionRequest,
    FindModelVersionRequest,
    GetModelRequest,
    OptimizeModelVersionRequest,
)
from bloomery.training.v1 import FeedItem, Job, JobResult
from bloomery_inference import housekeeping, parked, pending
from bloomery_inference.agent import replica
from bloomery_inference.agent.local import HeldModels
from bloomery_inference.agent.model import Plan, PlannedModel
from bloomery_inference.agent.replica import Replica
from bloomery_inference.follower import RESULTS_LOOP
from bloomery_inference.holding import Holding
from bloomery_inference.housekeeping import Housekeeper
from bloomery_inference.model import InputSpec
from bloomery_inference.parked import Parked
from bloomery_inference.pending import Pending
from bloomery_inference.recording import Recorder
from bloomery_inference.serving import rollout
from bloomery_inference.serving.losses import Losses
from bloomery_inference.serving.model import Deployment
from bloomery_inference.serving.rollout import Rollouts
from bloomery_inference.store import cleanups, deployments, models, replicas, variants
from bloomery_inference.store.tables import MODELS, PARKED_RESULTS, VARIANTS
from bloomery_kit.database import Transaction
from tests import databases
from tests.inference.asking import recorded
from tests.inference.conftest import Service
from tests.inference.deploying import READY, Scripted
from tests.inference.samples import trained
from tests.inference.test_migrations import NOW
from tests.passes import ForeignError, Work, each, fail_first, fail_step, turns

DATABASES = databases.SQLITE

WORKS = {
    RESULTS_LOOP: [Work(Recorder, "record", lambda _, item, _take, **_more: item.result.job_uid)],
    parked.LOOP: [Work(Parked, "_try", lambda _, each: each.sequence)],
    pending.LOOP: [Work(Pending, "_end_of", lambda _, variant, _look: variant.uid)],
    housekeeping.LOOP: [
        Work(Holding, "catch_up", lambda _, model: model.uid),
        Work(Housekeeper, "_clean", lambda _, due: due.ordinal),
    ],
    replica.LOOP: [
        Work(Replica, "_bring", lambda _, model: model.uid),
        Work(Replica, "_free", lambda _, uid: uid),
    ],
    rollout.LOOP: [Work(Rollouts, "advance", lambda _, _tx, uid: uid)],
}
STEPS: list[tuple[Any, str]] = [
    (housekeeping, "forget_requests"),
    (replicas, "forget"),
    (models, "lacks_origins"),
    (models, "unheld"),
    (cleanups, "page"),
    (Losses, "look"),
]


async def two_that_wait(service: Service) -> list[str]:
    """Record two model versions, ask for a variant of each, and let nothing happen by itself any more; their names."""
    service.trainer.feed += [trained(1, model="first"), trained(2, model="second")]
    versions = [f"projects/pets/models/{name}/versions/1" for name in ("first", "second")]
    for version in versions:
        await recorded(service, version)
    await service.app.loops.close()
    for version in versions:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=version))
    return versions


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    versions = await two_that_wait(service)
    service.trainer.feed += [trained(3, model="third"), trained(4, model="fourth")]
    if loop == housekeeping.LOOP:
        async with service.app._db.write() as tx:
            await tx.execute(sa.update(MODELS).values(held=False))
        for version in versions:
            await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=version))
    if loop == parked.LOOP:
        with monkeypatch.context() as patched:
            patched.setattr(Recorder, "record", fail)
            await turns(service.app.loops, RESULTS_LOOP)
    if loop == replica.LOOP:
        for owner, name in ((HeldModels, "load"), (Replica, "_try_out")):
            monkeypatch.setattr(owner, name, nothing)
        planned = [PlannedModel(uid * 32, uid, (), (), InputSpec(32, 32, "letterbox"), "yolo") for uid in "ab"]
        service.app.local.replica.want(Plan(1, tuple(planned)))
        if work.name == "_free":
            await turns(service.app.loops, loop)
            service.app.local.replica.want(Plan(2, ()))
    if loop == rollout.LOOP:
        await deploy(service, versions)
    done = fail_first(monkeypatch, work)
    await turns(service.app.loops, loop)
    assert len(done) == 1


async def nothing(*_: object) -> None:
    pass


async def deploy(service: Service, versions: list[str]) -> None:
    """A deployment of each version whose candidate is loaded."""
    for uid, version in zip("ab", versions, strict=True):
        model = await service.models.GetModel(GetModelRequest(name=version.rpartition("/versions")[0]))
        texts = {"uid": uid, "id": uid, "project": "pets", "runtime": "triton", "alias": "", "variant": ""}
        rest = {"model": "", "target": version, "labels": {}, "updater": "", "candidate": uid * 32}
        deployment = Deployment(**texts, **rest, model_uid=model.uid, create_time=NOW, update_time=NOW)  # type: ignore[arg-type]
        async with service.app._db.write() as tx:
            await deployments.create(tx, deployment)
    await Scripted(service).report({uid * 32: READY for uid in "ab"})


async def fail(*_: object, **__: object) -> None:
    raise ForeignError


@pytest.mark.parametrize("step", [name for _, name in STEPS])
async def test_a_step_of_the_housekeeping_that_fails_keeps_no_other_from_being_done(
    service: Service, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await service.app.loops.close()
    done = fail_step(monkeypatch, STEPS, step)
    await turns(service.app.loops, housekeeping.LOOP)
    assert done == {name for _, name in STEPS} - {step}


async def test_a_parked_result_that_cannot_be_read_holds_up_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.app.loops.close()
    service.trainer.feed += [trained(1, model="first"), trained(2, model="second")]
    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "record", fail)
        await turns(service.app.loops, RESULTS_LOOP)
    async with service.app._db.write() as tx:
        broken = sa.update(PARKED_RESULTS).where(PARKED_RESULTS.c.sequence == 1)
        await tx.execute(broken.values(item=b"\xff"))
    kept = service.trainer.feed.pop(0)
    monkeypatch.setattr(parked, "_FIRST_PAUSE", 0.0)
    await turns(service.app.loops, parked.LOOP, 1)
    await recorded(service, "projects/pets/models/second/versions/1")
    with pytest.raises(grpc.aio.AioRpcError, match="cannot be read"):
        await service.models.FindModelVersion(FindModelVersionRequest(job=kept.job.name))
    service.trainer.feed.insert(0, kept)
    await turns(service.app.loops, parked.LOOP, 1)
    await recorded(service, "projects/pets/models/first/versions/1")


async def test_a_result_that_the_trainer_cannot_read_waits_beside_the_feed_until_it_can(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked, "_FIRST_PAUSE", 0.0)
    await service.app.loops.close()
    whole, other = trained(1, model="first"), trained(2, model="second")
    unreadable = FeedItem(job=Job(name=whole.job.name, uid=whole.job.uid), unreadable="`success` cannot be read")
    unreadable.result.MergeFrom(JobResult(sequence=1, job=whole.job.name, job_uid=whole.job.uid))
    service.trainer.feed += [unreadable, other]
    await turns(service.app.loops, RESULTS_LOOP)
    await turns(service.app.loops, parked.LOOP)
    await recorded(service, "projects/pets/models/second/versions/1")
    with pytest.raises(grpc.aio.AioRpcError, match="`success` cannot be read"):
        await service.models.FindModelVersion(FindModelVersionRequest(job=whole.job.name))
    service.trainer.feed[0] = whole
    await turns(service.app.loops, parked.LOOP, 1)
    version = await recorded(service, "projects/pets/models/first/versions/1")
    assert version.lineage.job_uid == whole.job.uid


async def test_variants_that_wait_are_looked_at_some_at_a_time_and_without_the_rest_of_their_rows(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_that_wait(service)
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(VARIANTS).values(result=sa.literal_column("'[]'")))
    limits = list[int]()
    reading = variants.pending

    async def page(tx: Transaction, *, after: str, limit: int) -> list[variants.Wanted]:
        limits.append(limit)
        return await reading(tx, after=after, limit=limit)

    monkeypatch.setattr(variants, "pending", page)
    monkeypatch.setattr(pending, "_BATCH", 1)
    service.trainer.asked.clear()
    await turns(service.app.loops, pending.LOOP, 1)
    assert limits == [1, 1, 1]
    assert len(service.trainer.asked) == 2
