"""Checkpoints: only whole ones count, a few are kept, and damaged ones are left out."""

from datetime import UTC, datetime

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.training.v1 import (
    CheckpointSaved,
    DeleteJobRequest,
    GetLogsRequest,
    JobEvent,
    ListCheckpointsRequest,
    SignCheckpointRequest,
    SignEventFilesRequest,
)
from bloomery_trainer.checkpoints import superfluous
from bloomery_trainer.model import Checkpoint
from bloomery_trainer.store import attempts
from tests.trainer.hand import POLICY, FakeWorker, Hand, key_of


async def kept(hand: Hand, name: str) -> list[tuple[int, bool]]:
    answer = await hand.trainer.jobs.ListCheckpoints(ListCheckpointsRequest(parent=name))
    return [(checkpoint.epoch, checkpoint.best) for checkpoint in answer.checkpoints]


async def texts(hand: Hand, name: str) -> list[str]:
    answer = await hand.trainer.jobs.GetLogs(GetLogsRequest(name=name))
    return [entry.line.message for entry in answer.entries]


async def next_worker(hand: Hand) -> FakeWorker:
    """The worker of the attempt after the present one was lost."""
    hand.launcher.ends(None)
    await hand.settle()
    await hand.after(POLICY.retry_delay_max)
    return await hand.worker("w2")


async def test_the_last_two_and_the_best_are_kept(hand: Hand) -> None:
    job, worker = await hand.running()
    for epoch in range(1, 7):
        await worker.checkpoint(hand.core, epoch, best=epoch in (1, 3))
    assert await kept(hand, job.name) == [(6, False), (5, False), (3, True)]
    keys = [stat.key async for stat in hand.core.objects.list(f"{'a' * 32}/jobs/{job.uid}/1/")]
    folders = sorted("/".join(key.split("/")[4:6]) for key in keys)
    assert folders == [f"{role}/{epoch}" for role in ("checkpoint-manifest", "checkpoint") for epoch in (3, 5, 6)]


async def test_those_between_are_kept_as_the_job_asks(hand: Hand) -> None:
    job, worker = await hand.running(parameters={"save_every": 2, "keep": 2})
    for epoch in range(1, 10):
        await worker.checkpoint(hand.core, epoch, best=epoch == 1)
    assert await kept(hand, job.name) == [(9, False), (8, False), (6, False), (1, True)]


async def test_the_best_mark_stays_with_the_newest_that_had_it(hand: Hand) -> None:
    job, worker = await hand.running()
    for epoch in (2, 1):
        await worker.checkpoint(hand.core, epoch, best=True)
    assert await kept(hand, job.name) == [(2, True), (1, False)]


async def test_a_checkpoint_of_a_job_at_work_can_be_downloaded(hand: Hand) -> None:
    job, worker = await hand.running()
    for epoch in (1, 2, 3):
        await worker.checkpoint(hand.core, epoch, best=epoch == 1)
    for wanted, epoch in (("best", 1), ("last", 3), ("2", 2)):
        request = SignCheckpointRequest(name=f"{job.name}/checkpoints/{wanted}")
        signed = await hand.trainer.jobs.SignCheckpoint(request)
        assert (signed.checkpoint.name, signed.checkpoint.epoch) == (f"{job.name}/checkpoints/{epoch}", epoch)
        (file,) = signed.files
        assert file.artifact.file_name == "weights.pt"
        assert await hand.core.objects.get(key_of(file.get.url)) == f"weights {epoch} of 1".encode()
    with pytest.raises(grpc.aio.AioRpcError, match="there are 3, 2, 1 \\(best\\)") as refused:
        await hand.trainer.jobs.SignCheckpoint(SignCheckpointRequest(name=f"{job.name}/checkpoints/9"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_events_can_be_read_while_a_job_is_at_work_and_afterwards(hand: Hand) -> None:
    job, worker = await hand.running()

    async def contents() -> list[bytes]:
        signed = await hand.trainer.jobs.SignEventFiles(SignEventFilesRequest(name=job.name))
        return [await hand.core.objects.get(key_of(file.get.url)) for file in signed.files]

    assert await contents() == []
    for number in (1, 2):
        await worker.upload(hand.core, f"tensorboard/000000/{number:06}", f"events {number}".encode())
    assert await contents() == [b"events 1", b"events 2"]
    again = await next_worker(hand)
    await again.upload(hand.core, "tensorboard/000001/000001", b"events 3")
    await again.finish(success=await again.success(hand.core))
    hand.launcher.ends(0)
    await hand.settle()
    assert await contents() == [b"events 1", b"events 2", b"events 3"]
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.bury()
    assert not [stat.key async for stat in hand.core.objects.list(f"{'a' * 32}/jobs/{job.uid}/1/")]


async def test_a_training_starts_from_a_checkpoint_of_another_one(hand: Hand) -> None:
    first, worker = await hand.running()
    for epoch in (1, 2):
        await worker.checkpoint(hand.core, epoch, best=epoch == 1)
    second = await hand.trainer.create(base=f"{first.name}/checkpoints/best")
    assert second.base == f"{first.name}/checkpoints/1"
    await worker.finish(success=await worker.success(hand.core))
    hand.launcher.ends(0)
    await hand.settle()
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=first.name))
    await hand.bury()
    assert not [stat.key async for stat in hand.core.objects.list(f"{'a' * 32}/jobs/{first.uid}/1/checkpoint/1/")]
    given = (await hand.worker("w2")).start.base.artifact
    assert await hand.core.objects.get(given.logical_key) == b"weights 1 of 1"


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("projects/cells/jobs/none/checkpoints/best", "does not exist"),
        ("projects/other/jobs/none/checkpoints/1", "must lie in projects/cells"),
        ("projects/cells/jobs/{job}/checkpoints/7", "there are 1"),
        ("projects/cells/jobs/{job}/checkpoints/1/", "must be one of"),
    ],
)
async def test_a_base_that_is_no_checkpoint_is_refused(hand: Hand, base: str, problem: str) -> None:
    job, worker = await hand.running()
    await worker.checkpoint(hand.core, 1)
    with pytest.raises(grpc.aio.AioRpcError, match=f"job.base.*{problem}") as refused:
        await hand.trainer.create(base=base.format(job=job.name.rpartition("/")[2]))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@given(
    epochs=st.lists(st.integers(1, 50), unique=True, max_size=30),
    best=st.integers(1, 50),
    every=st.integers(0, 10),
    keep=st.integers(0, 5),
)
def test_what_is_kept_is_the_last_two_the_best_and_what_was_asked_for(
    epochs: list[int], best: int, every: int, keep: int
) -> None:
    # Property: of any checkpoints the last two, the best and the newest `keep` of each `every`-th epoch stay, no other.
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = [Checkpoint("j", 1, epoch, (), "", epoch == best, now) for epoch in sorted(epochs, reverse=True)]
    between = [each.epoch for each in found if every and each.epoch % every == 0]
    needed = {each.epoch for each in found[:2]} | ({best} & set(epochs)) | set(between[: keep or len(between)])
    gone = {each.epoch for each in superfluous(found, every=every, keep=keep)}
    assert gone == set(epochs) - needed


async def test_an_announcement_without_its_files_is_ignored(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.checkpoint(hand.core, 1)
    key = f"{'a' * 32}/jobs/{job.uid}/1/checkpoint-manifest/2/x"
    await worker.report(JobEvent(checkpoint=CheckpointSaved(epoch=2, logical_key=key)))
    elsewhere = CheckpointSaved(epoch=3, logical_key=f"{'a' * 32}/jobs/other/1/checkpoint-manifest/3/x")
    await worker.report(JobEvent(checkpoint=elsewhere))
    assert await kept(hand, job.name) == [(1, False)]
    not_uploaded, outside = [text for text in await texts(hand, job.name) if "ignored" in text]
    assert "was not uploaded" in not_uploaded
    assert "outside of the attempt's folder" in outside


async def test_a_manifest_that_names_other_files_is_ignored(hand: Hand) -> None:
    job, worker = await hand.running()
    manifest = await worker.upload(
        hand.core,
        "checkpoint-manifest/1",
        b'{"epoch": 1, "files": [{"path": "weights.pt", "digest": "sha256:0", "size_bytes": 3}]}',
    )
    await worker.report(JobEvent(checkpoint=CheckpointSaved(epoch=1, logical_key=manifest.logical_key)))
    assert await kept(hand, job.name) == []


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b"{}", b'{"epoch": 1, "files": [1]}', b'{"epoch": 1, "files": []}', b"[" * 100_000],
    ids=["list", "cut", "empty", "numbers", "none", "deep"],
)
async def test_a_manifest_of_nonsense_is_ignored(hand: Hand, content: bytes) -> None:
    job, worker = await hand.running()
    manifest = await worker.upload(hand.core, "checkpoint-manifest/1", content)
    await worker.report(JobEvent(checkpoint=CheckpointSaved(epoch=1, logical_key=manifest.logical_key)))
    assert await kept(hand, job.name) == []


async def test_a_repeated_announcement_is_kept_once(hand: Hand) -> None:
    job, worker = await hand.running()
    saved = await worker.checkpoint(hand.core, 1)
    await worker.report(JobEvent(checkpoint=saved), first=worker.sequence)
    await worker.report(JobEvent(checkpoint=saved))
    assert await kept(hand, job.name) == [(1, False)]


async def test_the_next_attempt_goes_on_from_the_newest(hand: Hand) -> None:
    _, worker = await hand.running()
    for epoch in (1, 2):
        await worker.checkpoint(hand.core, epoch)
    again = await next_worker(hand)
    assert (again.start.attempt, again.start.resume_epoch) == (2, 2)
    content = await hand.core.objects.get(again.start.resume_from[0].input.artifact.logical_key)
    assert content == b"weights 2 of 1"


async def test_a_damaged_checkpoint_is_left_out_for_the_one_before(hand: Hand) -> None:
    job, worker = await hand.running()
    for epoch in (1, 2):
        await worker.checkpoint(hand.core, epoch)
    async with hand.core.db.read() as tx:
        newest = (await attempts.list_checkpoints(tx, job.uid))[0]
    key = newest.files[0].artifact.logical_key
    content = bytearray(await hand.core.objects.get(key))
    content[0] ^= 1
    await hand.core.objects.put(key, bytes(content))
    again = await next_worker(hand)
    assert again.start.resume_epoch == 1
    assert any("epoch 2 is damaged" in text for text in await texts(hand, job.name))
    assert await kept(hand, job.name) == [(1, False)]


async def test_checkpoints_of_two_attempts_never_share_a_key(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.checkpoint(hand.core, 1)
    again = await next_worker(hand)
    await again.checkpoint(hand.core, 1)
    async with hand.core.db.read() as tx:
        found = await attempts.list_checkpoints(tx, job.uid)
    assert [checkpoint.attempt for checkpoint in found] == [2, 1]
    assert len({checkpoint.files[0].artifact.logical_key for checkpoint in found}) == 2
