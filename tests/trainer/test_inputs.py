"""Files that people bring for jobs: uploaded, checked, used and removed; on both databases."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bloomery.common.v1 import Artifact, UploadPart
from bloomery.training.v1 import (
    JOB_KIND_IMPORT,
    CancelJobRequest,
    CompleteInputUploadRequest,
    CreateJobRequest,
    Job,
    PrepareInputUploadRequest,
    PrepareInputUploadResponse,
)
from bloomery_kit import uploads
from bloomery_trainer.store import inputs
from tests import databases
from tests.trainer.bench import World, failure, reason_of
from tests.trainer.hand import Hand, artifact_of, by_hand, key_of
from tests.trainer.neighbours import PROJECT_UID
from tests.trainer.test_housekeeping import DAY, pass_after

CONTENT = b"weights from elsewhere"
FILE = artifact_of("", CONTENT)
KEY = f"{PROJECT_UID}/inputs/{FILE.digest.removeprefix('sha256:')}"


@pytest.fixture(params=databases.BOTH)
def database_url(request: pytest.FixtureRequest, world: World) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{world.folder}/training.db"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
async def hand(world: World, database_url: str) -> AsyncIterator[Hand]:
    async with by_hand(world, database_url=database_url, max_input_bytes=1000) as hand:
        yield hand


async def prepare(hand: Hand, artifact: Artifact = FILE) -> PrepareInputUploadResponse:
    request = PrepareInputUploadRequest(parent="projects/cells", artifact=artifact)
    return await hand.trainer.jobs.PrepareInputUpload(request)


async def complete(hand: Hand, artifact: Artifact = FILE) -> Artifact:
    request = CompleteInputUploadRequest(parent="projects/cells", artifact=artifact)
    return await hand.trainer.jobs.CompleteInputUpload(request)


async def uploaded(hand: Hand, content: bytes = CONTENT) -> Artifact:
    """The file after a whole upload."""
    await hand.core.objects.put(key_of((await prepare(hand)).put.url), content)
    return await complete(hand)


async def imports(hand: Hand, artifact: Artifact, **fields: Any) -> Job:
    job = Job(
        kind=JOB_KIND_IMPORT,
        recipe="recipes/scripted",
        base="mine.pt",
        base_artifact=artifact,
        model="projects/cells/models/mine",
        **fields,
    )
    return await hand.trainer.jobs.CreateJob(CreateJobRequest(parent="projects/cells", job=job))


async def there(hand: Hand) -> bool:
    return await hand.core.objects.stat(KEY) is not None


async def test_a_file_is_uploaded_once_and_given_to_a_job(hand: Hand) -> None:
    kept = await uploaded(hand)
    assert (kept.logical_key, kept.digest, kept.size_bytes, kept.role) == (KEY, FILE.digest, len(CONTENT), "input")
    assert await complete(hand) == kept
    assert not (await prepare(hand)).HasField("put")
    job = await imports(hand, kept)
    assert (job.base_artifact, job.dataset_version, job.model) == (kept, "", "projects/cells/models/mine")
    await hand.run_pass()
    base = (await hand.worker()).start.base.artifact
    assert (base.digest, await hand.core.objects.get(base.logical_key)) == (FILE.digest, CONTENT)


async def test_bytes_are_checked_before_they_are_kept(hand: Hand) -> None:
    await prepare(hand)
    assert await reason_of(complete(hand)) == "INPUT_MISSING"
    assert await reason_of(uploaded(hand, b"something else")) == "INPUT_MISSING"
    assert not await there(hand)
    assert await reason_of(imports(hand, Artifact(digest=FILE.digest, logical_key=KEY))) == "INPUT_MISSING"
    assert (await uploaded(hand)).logical_key == KEY


async def test_a_large_file_comes_in_parts_and_is_asked_for_as_far_as_it_did_not(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PARTED_BYTES", 10)
    monkeypatch.setattr(uploads, "_PART_BYTES", 10)

    async def missing() -> PrepareInputUploadResponse:
        request = PrepareInputUploadRequest(parent="projects/cells", artifact=FILE, in_parts=True)
        return await hand.trainer.jobs.PrepareInputUpload(request)

    async def bring(*parts: UploadPart) -> None:
        for part in parts:
            section = CONTENT[part.offset : part.offset + part.size_bytes]
            await hand.core.objects.put(key_of(part.put.url), section)

    first, second, third = (await missing()).parts
    await bring(first, third)
    assert await reason_of(complete(hand)) == "INPUT_MISSING"
    left = await missing()
    assert (left.HasField("put"), [part.offset for part in left.parts]) == (False, [10])
    await bring(second)
    assert not (await missing()).parts
    assert (await complete(hand)).logical_key == KEY
    assert await hand.core.objects.get(KEY) == CONTENT
    assert [blob.key async for blob in hand.core.objects.list(f"{PROJECT_UID}/inputs/staging/")] == []
    assert (await prepare(hand)) == PrepareInputUploadResponse()


async def test_room_is_wanted_for_the_parts_that_are_to_come_and_for_joining_them(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PARTED_BYTES", 10)
    monkeypatch.setattr(uploads, "_PART_BYTES", 10)
    room, least = len(CONTENT), hand.core.settings.min_free_bytes
    request = PrepareInputUploadRequest(parent="projects/cells", artifact=FILE, in_parts=True)
    hand.launcher.free = least + room * 3 // 2
    assert await reason_of(hand.trainer.jobs.PrepareInputUpload(request)) == "DISK_LOW"
    hand.launcher.free = least + 2 * room
    first, second, _ = (await hand.trainer.jobs.PrepareInputUpload(request)).parts
    for part in (first, second):
        section = CONTENT[part.offset : part.offset + part.size_bytes]
        await hand.core.objects.put(key_of(part.put.url), section)
    hand.launcher.free -= 20
    assert len((await hand.trainer.jobs.PrepareInputUpload(request)).parts) == 1
    hand.launcher.free -= 1
    assert await reason_of(hand.trainer.jobs.PrepareInputUpload(request)) == "DISK_LOW"


async def test_a_job_is_not_even_valid_without_its_file(hand: Hand) -> None:
    job = Job(kind=JOB_KIND_IMPORT, recipe="recipes/scripted", model="projects/cells/models/mine")
    job.base_artifact.CopyFrom(Artifact(digest=FILE.digest, logical_key=KEY))
    request = CreateJobRequest(parent="projects/cells", job=job, validate_only=True)
    assert await reason_of(hand.trainer.jobs.CreateJob(request)) == "INPUT_MISSING"
    await uploaded(hand)
    assert (await hand.trainer.jobs.CreateJob(request)).model == "projects/cells/models/mine"


async def test_two_calls_that_complete_one_upload_both_succeed(hand: Hand) -> None:
    await hand.core.objects.put(key_of((await prepare(hand)).put.url), CONTENT)
    first, second = await asyncio.gather(complete(hand), complete(hand))
    assert first == second
    assert first.logical_key == KEY


async def test_a_server_that_died_after_the_move_loses_nothing(hand: Hand) -> None:
    await prepare(hand)
    await hand.core.objects.put(KEY, CONTENT)
    assert (await complete(hand)).logical_key == KEY


async def test_what_is_too_large_or_no_digest_is_refused_at_once(hand: Hand) -> None:
    status = await failure(prepare(hand, Artifact(digest="md5:1", size_bytes=1001)))
    assert "sha256" in status.message
    assert "between 1 and 1000" in status.message
    hand.launcher.free = len(CONTENT) - 1
    assert await reason_of(prepare(hand)) == "DISK_LOW"


async def test_files_that_nobody_uses_are_removed(hand: Hand) -> None:
    await uploaded(hand)
    await pass_after(hand, 1 * DAY)
    assert await there(hand)
    await pass_after(hand, 3 * DAY)
    assert not await there(hand)
    assert (await prepare(hand)).HasField("put")


@pytest.mark.parametrize("part", ["", ".0-10"])
async def test_uploads_that_were_never_completed_are_removed(hand: Hand, part: str) -> None:
    staged = key_of((await prepare(hand)).put.url) + part
    await hand.core.objects.put(staged, CONTENT)
    await pass_after(hand, 3 * DAY)
    assert await hand.core.objects.stat(staged) is None


async def test_a_job_can_read_its_file_until_it_ends(hand: Hand) -> None:
    job = await imports(hand, await uploaded(hand))
    await pass_after(hand, 3 * DAY)
    assert not await there(hand)
    own = (await hand.worker()).start.base.artifact.logical_key
    assert await hand.core.objects.get(own) == CONTENT
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    hand.launcher.ends(44)
    await hand.settle()
    assert await hand.core.objects.stat(own) is None


async def test_files_that_cannot_be_removed_starve_no_others(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    await uploaded(hand)
    monkeypatch.setattr("bloomery_trainer.housekeeping._AT_ONCE", 1)
    stuck = "sha256:" + "0" * 64
    async with hand.core.db.write() as tx:
        await inputs.keep(tx, PROJECT_UID, stuck, hand.core.clock() - DAY)
    removing = hand.core.objects.delete

    async def delete(key: str) -> None:
        if stuck.removeprefix("sha256:") in key:
            raise PermissionError(key)
        await removing(key)

    monkeypatch.setattr(hand.core.objects, "delete", delete)
    for minutes in (0, 2, 4):
        await pass_after(hand, 3 * DAY + timedelta(minutes=minutes))
    assert not await there(hand)
