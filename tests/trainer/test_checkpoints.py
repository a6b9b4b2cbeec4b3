"""Checkpoints: only whole ones count, a few are kept, and damaged ones are left out."""

import pytest

from bloomery.training.v1 import CheckpointSaved, GetLogsRequest, JobEvent, ListCheckpointsRequest
from bloomery_trainer.store import attempts
from tests.trainer.hand import POLICY, FakeWorker, Hand


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
