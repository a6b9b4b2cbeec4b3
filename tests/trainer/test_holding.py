"""What a job works on, and what it made, stays as long as somebody needs it, and no longer."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_OPTIMIZE,
    JOB_KIND_TRAIN,
    CreateJobRequest,
    DeleteJobRequest,
    Job,
    JobKind,
    ListJobResultsRequest,
    VariantFacts,
)
from bloomery_kit.database import Transaction
from bloomery_trainer.holding import hold
from bloomery_trainer.store import jobs
from bloomery_trainer.store.tables import metadata
from tests.trainer.bench import AS_SERVICE, reason_of
from tests.trainer.hand import FakeWorker, Hand, artifact_of
from tests.trainer.moves import cancel, state
from tests.trainer.neighbours import DATASET, PROJECT_UID

WEIGHTS = artifact_of("checkpoint", b"weights of a version")
WEIGHTS.logical_key = f"{PROJECT_UID}/jobs/other/1/checkpoint/x"


async def delete(hand: Hand, job: Job) -> None:
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))


async def works_on_weights(hand: Hand, kind: JobKind.ValueType = JOB_KIND_OPTIMIZE, **fields: Any) -> Job:
    """A job that works on the checkpoint of a model version."""
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights of a version")
    if kind == JOB_KIND_EVALUATE:
        fields |= {"dataset_version": DATASET, "model_version": "projects/cells/models/m/versions/1"}
    job = Job(kind=kind, recipe="recipes/scripted", base_artifact=WEIGHTS, base="m@1", **fields)
    return await hand.trainer.jobs.CreateJob(CreateJobRequest(parent="projects/cells", job=job))


async def done(hand: Hand, job: Job) -> FakeWorker:
    """The job succeeds, and nothing of it runs any more."""
    await hand.settle(1)
    worker = await hand.worker()
    made = await worker.success(hand.core)
    made.variants.append(VariantFacts(id="v", format="onnx", precision="fp32", device="cpu", failure="none"))
    await worker.finish(success=made)
    hand.launcher.ends(0)
    await hand.settle(2)
    assert await state(hand, job) == "SUCCEEDED"
    return worker


async def test_a_job_id_that_is_used_again_leaves_the_second_jobs_hold_alone(hand: Hand) -> None:
    first = await hand.trainer.create(job_id="nightly")
    await cancel(hand, first)
    await delete(hand, first)
    second = await hand.trainer.create(job_id="nightly")
    await hand.settle(3)
    holder = f"projects/cells/jobs/{second.uid}"
    assert hand.trainer.world.datasets.holders == {(DATASET, holder)}
    assert hand.trainer.world.datasets.titles[holder] == "jobs/nightly"


async def test_a_hold_that_nobody_remembers_is_given_back(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    noting = jobs.note

    async def note(tx: Transaction, uid: str, **changes: object) -> None:
        if "held" in changes:
            raise KeyError("the server died here")
        await noting(tx, uid, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "note", note)
        await reason_of(hand.trainer.create(job_id="nightly"))
    assert len(hand.trainer.world.datasets.holders) == 1
    job = await hand.trainer.get("projects/cells/jobs/nightly")
    await cancel(hand, job)
    await delete(hand, job)
    await hand.settle(1)
    assert hand.trainer.world.datasets.holders == set()


async def test_a_model_version_may_be_deleted_under_a_job_that_works_on_it(hand: Hand) -> None:
    await works_on_weights(hand)
    await hand.core.objects.delete(WEIGHTS.logical_key)
    await hand.settle(1)
    base = (await hand.worker()).start.base.artifact
    assert base.digest == WEIGHTS.digest
    assert await hand.core.objects.get(base.logical_key) == b"weights of a version"


async def test_a_file_that_went_before_the_job_could_claim_it_fails_the_job(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claims_nothing(_uid: str) -> None:
        await hand.core.objects.delete(WEIGHTS.logical_key)

    monkeypatch.setattr("bloomery_trainer.creation.Creation.claim_inputs", lambda _, uid: claims_nothing(uid))
    job = await works_on_weights(hand)
    await hand.settle(1)
    failed = await hand.trainer.get(job.name)
    assert (await state(hand, job), failed.reason.code) == ("FAILED", "DATA_ERROR")
    assert "m@1" in failed.reason.message


async def test_a_job_on_a_file_that_is_not_there_is_refused(hand: Hand) -> None:
    job = Job(kind=JOB_KIND_OPTIMIZE, recipe="recipes/scripted", base_artifact=WEIGHTS)
    request = CreateJobRequest(parent="projects/cells", job=job)
    assert await reason_of(hand.trainer.jobs.CreateJob(request)) == "INPUT_MISSING"


@pytest.mark.parametrize(
    ("kind", "stays"), [(JOB_KIND_TRAIN, True), (JOB_KIND_OPTIMIZE, True), (JOB_KIND_EVALUATE, False)]
)
async def test_files_of_a_deleted_job_stay_only_where_a_model_may_have_them(
    hand: Hand, kind: JobKind.ValueType, stays: bool
) -> None:
    job = await (hand.trainer.create() if kind == JOB_KIND_TRAIN else works_on_weights(hand, kind))
    await done(hand, job)
    (made,) = (await hand.trainer.get(job.name)).result.artifacts
    await delete(hand, job)
    await hand.settle(1)
    assert (await hand.core.objects.stat(made.logical_key) is not None) == stays
    left = [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/")]
    assert left == ([made.logical_key] if stays else [])


@pytest.mark.parametrize("minutes", [0, 50, -50], ids="{} minutes ahead".format)
async def test_what_a_slow_claim_leaves_after_all_was_given_back_is_given_back_too(hand: Hand, minutes: int) -> None:
    """Also where the clock of whoever tidies up differs from that of whoever ended the job."""
    job = await works_on_weights(hand, JOB_KIND_EVALUATE)
    async with hand.core.db.read() as tx:
        claimed = await jobs.find(tx, job.uid)
    assert claimed is not None
    await cancel(hand, job)
    await delete(hand, job)
    hand.clock.shift = timedelta(minutes=minutes)
    hand.follow_clock()
    await hand.settle(1)
    for _ in ("before the row goes", "behind it"):
        assert await left_of(hand, job) == (set(), [])
        await hold(hand.core, claimed)
        await hand.bury()
    assert await left_of(hand, job) == (set(), [])
    async with hand.core.db.read() as tx:
        assert await jobs.find(tx, job.uid) is None


async def left_of(hand: Hand, job: Job) -> tuple[set[tuple[str, str]], list[str]]:
    """Holds on datasets and objects."""
    keys = [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/")]
    return set(hand.trainer.world.datasets.holders), keys


async def test_a_deleted_job_is_given_back_twice_and_no_more(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await hand.trainer.create()
    await cancel(hand, job)
    await delete(hand, job)
    releasing, released = hand.core.neighbours.release, list[str]()

    async def release(version: str, holder: str) -> None:
        released.append(holder)
        await releasing(version, holder)

    monkeypatch.setattr(hand.core.neighbours, "release", release)
    await hand.settle(3)
    assert len(released) == 1
    await hand.bury(3)
    assert len(released) == 2


async def test_a_deleted_job_leaves_no_row_and_its_result_stays_in_the_feed(hand: Hand) -> None:
    job = await hand.trainer.create(labels={"team": "cells"}, display_name="Nightly")
    await done(hand, job)
    await delete(hand, job)
    await hand.bury()
    async with hand.core.db.read() as tx:
        assert await jobs.find(tx, job.uid) is None
        for table in metadata.tables.values():
            if "job_uid" in table.c and table.name != "results":
                count = sa.select(sa.func.count()).select_from(table).where(table.c.job_uid == job.uid)
                assert await tx.scalar(count) == 0, table.name
    feed = await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)
    assert [(item.job.name, item.job.display_name) for item in feed.results] == [(job.name, "Nightly")]


async def test_a_deleted_job_is_buried_only_when_nothing_of_it_runs(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.finish(success=await worker.success(hand.core))
    await delete(hand, job)
    await hand.bury()
    async with hand.core.db.read() as tx:
        assert await jobs.find(tx, job.uid) is not None
    hand.launcher.ends(0)
    await hand.bury(2)
    async with hand.core.db.read() as tx:
        assert await jobs.find(tx, job.uid) is None
