"""A worker whose disk fills up says so, loses no event, and the next attempt goes on where there is room again."""

import asyncio
from pathlib import Path

from real_parts.disk import Filler
from tests.worker.harness import running, scripted_trainer, served
from tests.worker.sample_data import Version


async def test_a_disk_that_fills_up_while_training_is_the_reason_and_the_next_attempt_goes_on(
    cells: Version, small_disk: Path, filler: Filler, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    # Inputs have a disk of their own: a worker begins nothing without a reserve where they go.
    cache = {"BLOOMERY_CACHE_DIR": str(tmp_path / "cache")}
    first = scripted_trainer(cells, epochs=6, seconds=0.5)
    async with served(first, cells), running(first, small_disk, settings=cache) as worker:
        await first.until(lambda trainer: bool(trainer.of_kind("checkpoint")))
        await asyncio.to_thread(filler.fill)
        assert await worker.exit_code() == 1, worker.output
    assert first.finished is not None
    reason = first.finished.failure.reason
    assert (reason.code, reason.retriable) == ("DISK_FULL", True)
    assert reason.hint
    kept = first.of_kind("checkpoint")[-1].checkpoint.epoch
    told = [event.metrics.epoch for event in first.of_kind("metrics") if event.metrics.epoch_end]
    assert told == list(range(1, len(told) + 1))
    assert kept < len(told) <= 6

    filler.free()
    second, folder = first.successor(kept), small_disk / "second"
    folder.mkdir()
    async with served(second, cells), running(second, folder, settings=cache) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert second.finished is not None
    assert second.finished.HasField("success")
