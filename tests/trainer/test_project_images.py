"""PREDICT jobs on images of their project, as they were when the job was created."""

import pytest

from bloomery.annotation.v1 import Asset
from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_PREDICT,
    CreateJobRequest,
    Job,
    JobImage,
    JobKind,
    ProjectImages,
    ReadImagesRequest,
    ReadImagesResponse,
)
from tests.trainer.bench import World, reason_of
from tests.trainer.hand import FakeWorker, Hand
from tests.trainer.neighbours import DATASET, PROJECT_UID
from tests.trainer.test_jobs_api import violations

WEIGHTS = Artifact(digest="sha256:" + "2" * 64, logical_key=f"{PROJECT_UID}/models/weights.pt")
DIGEST = "sha256:" + "3" * 64


def wish(filter: str = "", *, kind: JobKind.ValueType = JOB_KIND_PREDICT, on: str = "") -> CreateJobRequest:
    job = Job(
        kind=kind,
        recipe="recipes/scripted",
        dataset_version=on,
        model_version="projects/cells/models/m/versions/1",
        base_artifact=WEIGHTS,
        project_images=ProjectImages(filter=filter),
    )
    return CreateJobRequest(parent="projects/cells", job=job)


@pytest.fixture(autouse=True)
async def weights(hand: Hand) -> None:
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights")


async def listed(worker: FakeWorker, after: str = "") -> ReadImagesResponse:
    return await worker.stub.ReadImages(ReadImagesRequest(after=after), metadata=worker.metadata)


async def test_a_job_reads_the_images_of_the_moment_when_it_was_created(hand: Hand, world: World) -> None:
    world.annotation.images = [
        Asset(name=f"projects/cells/assets/{name}", display_name=f"{name}.png", digest=DIGEST, width=4, split="val")
        for name in ("a1", "a2")
    ]
    job = await hand.trainer.jobs.CreateJob(wish("unannotated"))
    assert job.project_images == ProjectImages(filter="unannotated", read_sequence=7)
    assert job.dataset_version == ""
    await hand.run_pass()
    worker = await hand.worker()
    assert worker.start.job.project_images == job.project_images
    first = await listed(worker)
    second = await listed(worker, first.after)
    assert list(first.images) == [
        JobImage(
            asset="projects/cells/assets/a1",
            display_name="a1.png",
            digest=DIGEST,
            width=4,
            split="val",
            logical_key=f"{PROJECT_UID}/{'3' * 64}",
        )
    ]
    assert [image.display_name for image in second.images] == ["a2.png"]
    assert not (await listed(worker, second.after)).after
    assert {(one.parent, one.filter, one.read_sequence) for one in world.annotation.streamed[1:]} == {
        ("projects/cells", "unannotated", 7)
    }


async def test_what_makes_no_sense_is_refused(hand: Hand) -> None:
    assert list(await violations(hand, wish("wrong"))) == ["job.project_images.filter"]
    assert list(await violations(hand, wish(on=DATASET))) == ["job.dataset_version"]
    elsewhere = wish(kind=JOB_KIND_EVALUATE, on=DATASET)
    assert list(await violations(hand, elsewhere)) == ["job.project_images"]


async def test_a_job_on_a_dataset_version_lists_no_images(hand: Hand) -> None:
    _, worker = await hand.running()
    assert await reason_of(listed(worker)) == "PERMISSION_DENIED"
