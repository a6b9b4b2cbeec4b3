"""Files of an attempt reach the object store, large ones in parts, of which each travels once."""

import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bloomery.training.v1 import Job, Recipe, StartAttemptRequest
from bloomery_worker import uploads
from bloomery_worker.blobs import digest_of, http_client
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import TransferError
from bloomery_worker.messages import FileNote
from bloomery_worker.retrying import Policy, again
from bloomery_worker.uploads import Uploads
from tests.worker.fake_trainer import TOKEN, FakeTrainer, serving

CONTENT = random.Random(1).randbytes(3500)


@pytest.fixture
async def trainer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeTrainer]:
    monkeypatch.setattr(uploads, "POLICY", Policy(patience=10.0, first=0.01, longest=0.01))
    async with serving(FakeTrainer(Job(), Recipe(), manifest=None, classes=(), part_bytes=1000), {}) as running:
        yield running


async def send(trainer: FakeTrainer, path: Path) -> None:
    client = WorkerClient(trainer.target)
    try:
        await client.start(StartAttemptRequest(token=TOKEN))
        async with http_client() as http:
            (kept,) = await Uploads(client, http).send(
                [FileNote(path=str(path), role="checkpoint", file_name=path.name)]
            )
        assert kept.digest == digest_of(path)
    finally:
        await client.close()


@pytest.mark.parametrize(("size", "requests"), [(1000, 1), (1001, 2), (3500, 4)])
async def test_large_files_travel_in_parts(trainer: FakeTrainer, tmp_path: Path, size: int, requests: int) -> None:
    (tmp_path / "best.pt").write_bytes(CONTENT[:size])
    await send(trainer, tmp_path / "best.pt")
    assert trainer.content("checkpoint") == CONTENT[:size]
    assert len(trainer.blobs.taken) == requests


async def test_a_part_that_did_not_get_through_is_sent_again_by_itself(trainer: FakeTrainer, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(CONTENT)
    trainer.blobs.broken = 2
    await send(trainer, tmp_path / "best.pt")
    assert trainer.content("checkpoint") == CONTENT
    assert len(trainer.blobs.taken) == len(set(trainer.blobs.taken)) == 4


@pytest.mark.parametrize("broken", [1, 5])
async def test_a_large_file_over_a_slow_line_may_lose_parts_for_as_long_as_others_arrive(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """Each part that arrives takes ten minutes."""
    monkeypatch.setattr(uploads, "POLICY", Policy(patience=1000.0, first=0.01, longest=0.01))
    monkeypatch.setattr(uploads, "again", partial(again, clock=lambda: 600.0 * len(trainer.blobs.taken)))
    (tmp_path / "best.pt").write_bytes(CONTENT)
    trainer.blobs.broken = broken
    await send(trainer, tmp_path / "best.pt")
    assert trainer.content("checkpoint") == CONTENT


async def test_who_takes_parts_and_never_keeps_them_is_given_up(
    trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "POLICY", Policy(patience=1000.0, first=0.01, longest=0.01))
    monkeypatch.setattr(uploads, "again", partial(again, clock=lambda: 100.0 * len(trainer.blobs.taken)))
    (tmp_path / "best.pt").write_bytes(CONTENT)
    trainer.blobs.corrupt.add("p0/jobs/j0/1/staging/checkpoint.0")
    with pytest.raises(TransferError, match="not there"):
        await send(trainer, tmp_path / "best.pt")
