"""What the worker of a PREDICT job sees is suggested to the annotation service, by the attempt that counts only."""

import grpc
import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_PREDICT,
    CancelJobRequest,
    CreateJobRequest,
    Job,
    JobKind,
    PredictedImage,
    SuggestShapesRequest,
    SuggestShapesResponse,
)
from bloomery.vision.v1 import Box, Shape
from tests.trainer.bench import World, reason_of
from tests.trainer.hand import FakeWorker, Hand
from tests.trainer.neighbours import DATASET, PROJECT_UID

MODEL = "projects/cells/models/m/versions/1"
IMAGE = PredictedImage(
    digest="sha256:" + "1" * 64, shapes=[Shape(label="rbc", confidence=0.5, box=Box(width=1, height=1))]
)
REQUEST = SuggestShapesRequest(images=[IMAGE])


WEIGHTS = Artifact(digest="sha256:" + "2" * 64, logical_key=f"{PROJECT_UID}/models/weights.pt")


async def create(hand: Hand, kind: JobKind.ValueType = JOB_KIND_PREDICT, *, suggest: bool) -> Job:
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights")
    job = Job(
        kind=kind,
        recipe="recipes/scripted",
        dataset_version=DATASET,
        model_version=MODEL,
        base_artifact=WEIGHTS,
        suggest=suggest,
    )
    return await hand.trainer.jobs.CreateJob(CreateJobRequest(parent="projects/cells", job=job))


async def running(hand: Hand, *, suggest: bool) -> tuple[Job, FakeWorker]:
    job = await create(hand, suggest=suggest)
    await hand.run_pass()
    return job, await hand.worker()


async def suggest(worker: FakeWorker) -> SuggestShapesResponse:
    return await worker.stub.SuggestShapes(REQUEST, metadata=worker.metadata)


async def test_suggestions_are_those_of_the_jobs_model_for_who_created_it(hand: Hand, world: World) -> None:
    job, worker = await running(hand, suggest=True)
    assert worker.start.job.suggest
    answer = await suggest(worker)
    [saved] = world.annotation.suggested
    assert (saved.parent, saved.model_version, saved.run) == ("projects/cells", MODEL, job.uid)
    assert [(one.digest, list(one.shapes)) for one in saved.suggestions] == [(IMAGE.digest, list(IMAGE.shapes))]
    assert world.annotation.suggested_for == [job.creator]
    assert (len(answer.results), answer.shape_count, answer.unusable_count) == (1, 3, 2)
    assert (dict(answer.unknown_classes), answer.annotation_set) == ({"zebra": 1}, "m-1")


async def test_a_job_that_does_not_suggest_may_not(hand: Hand, world: World) -> None:
    _, worker = await running(hand, suggest=False)
    assert await reason_of(suggest(worker)) == "PERMISSION_DENIED"
    assert not world.annotation.suggested


async def test_an_attempt_that_is_over_suggests_nothing(hand: Hand, world: World) -> None:
    job, worker = await running(hand, suggest=True)
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name, force=True))
    await hand.after(600)
    assert await reason_of(suggest(worker)) == "ATTEMPT_SUPERSEDED"
    assert not world.annotation.suggested


async def test_a_service_that_is_away_is_told_as_such(hand: Hand, world: World) -> None:
    _, worker = await running(hand, suggest=True)
    world.annotation.down = True
    assert await reason_of(suggest(worker)) == "DOWN"


async def test_nothing_is_suggested_on_crops(hand: Hand, world: World) -> None:
    world.datasets.versions[DATASET].spec.crops.SetInParent()
    assert (await create(hand, suggest=False)).name
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await create(hand, suggest=True)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"job.suggest: must not be set on {DATASET}" in str(refused.value.details())
    assert "name `project_images`" in str(refused.value.details())


async def test_only_predictions_suggest(hand: Hand) -> None:
    refused = await reason_of(create(hand, JOB_KIND_EVALUATE, suggest=True))
    assert refused == "INVALID_ARGUMENT"
