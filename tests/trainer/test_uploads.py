"""The bytes that are kept are the bytes that were checked, also while a signed URL can still be used."""

from collections.abc import Callable

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    ArtifactTarget,
    ArtifactUpload,
    CompleteInputUploadRequest,
    PrepareArtifactUploadsRequest,
    PrepareInputUploadRequest,
)
from bloomery_kit import uploads
from bloomery_kit.objects import ObjectStore
from tests.trainer.bench import failure, reason_of
from tests.trainer.hand import Hand, artifact_of, key_of

CONTENT, FORGED = b"weights", b"forged!"
FILE = artifact_of("metrics", CONTENT)


@pytest.fixture
def writes_again(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Somebody uses the signed URL once more after the bytes were read."""
    objects, checking = hand.core.objects, hand.core.objects.digest

    def at(key: str) -> None:
        async def digest(read: str) -> tuple[str, int]:
            found = await checking(read)
            await objects.put(key, FORGED)
            return found

        monkeypatch.setattr(objects, "digest", digest)

    return at


async def kept_digest(objects: ObjectStore, key: str) -> str:
    return artifact_of("", await objects.get(key)).digest


async def test_a_workers_artifact_is_what_was_checked(hand: Hand, writes_again: Callable[[str], None]) -> None:
    _, worker = await hand.running()
    staged = await worker.target(FILE)
    await hand.core.objects.put(staged, CONTENT)
    writes_again(staged)
    kept = (await worker.complete(FILE)).results[0].artifact
    assert await kept_digest(hand.core.objects, kept.logical_key) == FILE.digest


async def test_an_input_is_what_was_checked(hand: Hand, writes_again: Callable[[str], None]) -> None:
    prepared = await hand.trainer.jobs.PrepareInputUpload(
        PrepareInputUploadRequest(parent="projects/cells", artifact=FILE)
    )
    staged = key_of(prepared.put.url)
    await hand.core.objects.put(staged, CONTENT)
    writes_again(staged)
    kept = await hand.trainer.jobs.CompleteInputUpload(
        CompleteInputUploadRequest(parent="projects/cells", artifact=FILE)
    )
    assert await kept_digest(hand.core.objects, kept.logical_key) == FILE.digest


async def test_more_than_was_announced_is_not_even_read(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    async def reads(_key: str) -> tuple[str, int]:
        raise AssertionError("read")

    _, worker = await hand.running()
    await hand.core.objects.put(await worker.target(FILE), CONTENT * 1000)
    monkeypatch.setattr(hand.core.objects, "digest", reads)
    refused = (await worker.complete(FILE)).results[0].status
    assert "bytes arrived instead" in refused.message


async def test_a_workers_large_artifact_comes_in_parts(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PARTED_BYTES", 4)
    monkeypatch.setattr(uploads, "_PART_BYTES", 4)
    _, worker = await hand.running()

    async def target() -> ArtifactTarget:
        request = PrepareArtifactUploadsRequest(uploads=[ArtifactUpload(artifact=FILE)], in_parts=True)
        return (await worker.stub.PrepareArtifactUploads(request, metadata=worker.metadata)).targets[0]

    first, second = (await target()).parts
    await hand.core.objects.put(key_of(second.put.url), CONTENT[second.offset :])
    left = await target()
    offsets = [part.offset for part in left.parts]
    assert (left.present, left.HasField("put"), offsets) == (False, False, [first.offset])
    assert (await worker.complete(FILE)).results[0].status.code
    await hand.core.objects.put(key_of(first.put.url), CONTENT[: first.size_bytes])
    kept = (await worker.complete(FILE)).results[0].artifact
    assert await hand.core.objects.get(kept.logical_key) == CONTENT
    assert await target() == ArtifactTarget(role=FILE.role, present=True)


async def test_room_is_wanted_for_what_is_to_come_and_for_joining_it(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PARTED_BYTES", 4)
    monkeypatch.setattr(uploads, "_PART_BYTES", 4)
    _, worker = await hand.running()
    request = PrepareArtifactUploadsRequest(uploads=[ArtifactUpload(artifact=FILE)], in_parts=True)

    async def prepare(free: int) -> ArtifactTarget:
        hand.launcher.free = free
        return (await worker.stub.PrepareArtifactUploads(request, metadata=worker.metadata)).targets[0]

    size = len(CONTENT)
    assert await reason_of(prepare(2 * size - 1)) == "DISK_LOW"
    first, second = (await prepare(2 * size)).parts
    await hand.core.objects.put(key_of(first.put.url), CONTENT[: first.size_bytes])
    assert [part.offset for part in (await prepare(2 * size - 4)).parts] == [second.offset]
    assert await reason_of(prepare(2 * size - 5)) == "DISK_LOW"
    await hand.core.objects.put(key_of(second.put.url), CONTENT[second.offset :])
    await worker.complete(FILE)
    assert (await prepare(0)).present, "what is kept needs no room"


async def test_what_a_worker_must_upload_again_is_said_by_its_role(hand: Hand) -> None:
    _, worker = await hand.running()
    (refused,) = (await worker.complete(FILE)).results
    assert "metrics" in refused.status.message
    assert "upload it again" in refused.status.message


async def test_an_upload_that_never_came_is_an_input_that_is_missing(hand: Hand) -> None:
    call = hand.trainer.jobs.CompleteInputUpload(
        CompleteInputUploadRequest(parent="projects/cells", artifact=Artifact(digest=FILE.digest, size_bytes=7))
    )
    status = await failure(call)
    assert "nothing was uploaded" in status.message
    call = hand.trainer.jobs.CompleteInputUpload(
        CompleteInputUploadRequest(parent="projects/cells", artifact=Artifact(digest=FILE.digest, size_bytes=7))
    )
    assert await reason_of(call) == "INPUT_MISSING"
