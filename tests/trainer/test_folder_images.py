"""PREDICT jobs on images that are not the project's: archives that come with the job, and go with it."""

from typing import Any

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_PREDICT,
    CreateJobRequest,
    DeleteJobRequest,
    FolderImages,
    Job,
    ProjectImages,
)
from bloomery_trainer.holding import hold
from bloomery_trainer.store import jobs
from tests.trainer.bench import reason_of
from tests.trainer.hand import Hand, artifact_of, key_of
from tests.trainer.moves import cancel
from tests.trainer.neighbours import DATASET, PROJECT_UID
from tests.trainer.test_housekeeping import DAY, pass_after
from tests.trainer.test_inputs import complete, prepare
from tests.trainer.test_jobs_api import violations

WEIGHTS = Artifact(digest="sha256:" + "2" * 64, logical_key=f"{PROJECT_UID}/models/weights.pt")
ABSENT = Artifact(digest="sha256:" + "3" * 64, logical_key=f"{PROJECT_UID}/inputs/{'3' * 64}", file_name="1.zip")


def wish(*archives: Artifact, **fields: Any) -> CreateJobRequest:
    given: dict[str, Any] = {
        "kind": JOB_KIND_PREDICT,
        "recipe": "recipes/scripted",
        "model_version": "projects/cells/models/m/versions/1",
        "base_artifact": WEIGHTS,
        "folder_images": FolderImages(archives=archives),
    }
    return CreateJobRequest(parent="projects/cells", job=Job(**given | fields))


async def brought(hand: Hand, content: bytes) -> Artifact:
    """An archive after its upload."""
    archive = artifact_of("", content)
    await hand.core.objects.put(key_of((await prepare(hand, archive)).put.url), content)
    return await complete(hand, archive)


@pytest.fixture(autouse=True)
async def weights(hand: Hand) -> None:
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights")


async def test_the_worker_gets_the_archives_in_their_order_also_when_the_uploads_are_gone(hand: Hand) -> None:
    archives = [await brought(hand, content) for content in (b"second", b"first")]
    job = await hand.trainer.jobs.CreateJob(wish(*archives))
    assert list(job.folder_images.archives) == archives
    assert job.dataset_version == ""
    for one in archives:
        await hand.core.objects.delete(one.logical_key)
    await hand.settle(1)
    start = (await hand.worker()).start
    found = [await hand.core.objects.get(one.artifact.logical_key) for one in start.archives]
    assert found == [b"second", b"first"]
    assert not start.HasField("manifest")


async def test_a_repeat_of_holding_makes_the_copies_that_are_missing(hand: Hand) -> None:
    first, second = [await brought(hand, content) for content in (b"first", b"second")]
    job = await hand.trainer.jobs.CreateJob(wish(first, second))
    own = f"{PROJECT_UID}/jobs/{job.uid}/input/"
    await hand.core.objects.delete(f"{own}{second.digest.removeprefix('sha256:')}")
    await hand.core.objects.delete(first.logical_key)
    async with hand.core.db.read() as tx:
        stored = await jobs.find(tx, job.uid)
    assert stored
    await hold(hand.core, stored)
    kept = {stat.key.removeprefix(own): stat.size async for stat in hand.core.objects.list(own)}
    assert len(kept) == 3
    assert kept[second.digest.removeprefix("sha256:")] == len(b"second")


async def test_nothing_of_them_is_left_when_the_job_and_the_time_of_uploads_are_over(hand: Hand) -> None:
    job = await hand.trainer.jobs.CreateJob(wish(await brought(hand, b"an archive")))
    await cancel(hand, job)
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.settle(2)
    assert [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/")] == []
    await pass_after(hand, 3 * DAY)
    assert [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/inputs/")] == []


async def test_an_archive_that_was_never_completed_is_refused(hand: Hand) -> None:
    assert await reason_of(hand.trainer.jobs.CreateJob(wish(ABSENT))) == "INPUT_MISSING"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"suggest": True}, {"job.suggest"}),
        ({"dataset_version": DATASET}, {"job.dataset_version"}),
        ({"project_images": ProjectImages()}, {"job.folder_images"}),
        ({"kind": JOB_KIND_EVALUATE, "dataset_version": DATASET}, {"job.folder_images"}),
        ({"folder_images": FolderImages()}, {"job.folder_images.archives"}),
        ({"folder_images": FolderImages(archives=[ABSENT] * 101)}, {"job.folder_images.archives"}),
        (
            {"folder_images": FolderImages(archives=[Artifact(digest="sha256:a", logical_key="other/x")])},
            {"job.folder_images.archives[0].logical_key"},
        ),
    ],
)
async def test_everything_wrong_with_a_folder_is_told(hand: Hand, fields: dict[str, Any], wrong: set[str]) -> None:
    assert (await violations(hand, wish(ABSENT, **fields))).keys() == wrong
