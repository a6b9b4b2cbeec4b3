"""What the supervisor does beside the work goes on, whatever it meets."""

import asyncio
from pathlib import Path

import pytest

from bloomery.training.v1 import DIRECTIVE_CANCEL, LogLine
from bloomery_worker import loops
from bloomery_worker.client import FencedError
from bloomery_worker.loops import Loops, Turn
from bloomery_worker.reporter import Reporter
from bloomery_worker.settings import WorkerSettings
from bloomery_worker.supervisor import supervise
from bloomery_worker.termination import LastWords
from bloomery_worker.uploads import Uploads
from tests.worker.fake_trainer import TOKEN, FakeTrainer
from tests.worker.harness import SCRIPTED, scripted_trainer, served
from tests.worker.sample_data import Version

pytestmark = pytest.mark.timeout(100)


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "PAUSE", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTED))


async def supervised(trainer: FakeTrainer, version: Version, folder: Path) -> LastWords:
    """Runs an attempt whose supervisor is in this process."""
    async with served(trainer, version):
        end = folder / "end"
        return await supervise(
            WorkerSettings(
                target=trainer.target, token=TOKEN, work_dir=folder, cache_dir=folder / "cache", termination_file=end
            )
        )


def warnings(trainer: FakeTrainer) -> list[str]:
    lines = [event.log for event in trainer.of_kind("log")]
    return [line.message for line in lines if line.level == LogLine.LEVEL_WARNING]


async def test_an_error_that_nobody_expected_ends_no_loop_and_is_told(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    add = Loops.add

    def failing_first(loops: Loops, name: str, turn: Turn) -> None:
        turns = iter([broken])

        async def then() -> None:
            await next(turns, turn)()

        names.append(name)
        add(loops, name, then)

    async def broken() -> None:
        raise KeyError("nobody knows me")

    monkeypatch.setattr(Loops, "add", failing_first)
    trainer = scripted_trainer(cells, epochs=3, seconds=0.2)
    assert (await supervised(trainer, cells, tmp_path)).exit_code == 0
    assert len(names) >= 3
    assert sorted(warnings(trainer)) == sorted(
        f"the worker's {name} failed and goes on: KeyError: 'nobody knows me'" for name in names
    )
    assert [event.metrics.epoch for event in trainer.of_kind("metrics")] == [1, 2, 3]


@pytest.mark.parametrize("name", ["reporter", "checkpoint uploader"])
async def test_a_loop_that_ends_all_the_same_ends_the_attempt_so_that_another_goes_on(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    add = Loops.add

    async def ends() -> None:
        await asyncio.sleep(1)
        raise asyncio.CancelledError

    monkeypatch.setattr(Loops, "add", lambda loops, known, turn: add(loops, known, ends if known == name else turn))
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.2)
    assert (await supervised(trainer, cells, tmp_path)).exit_code == 1
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert (reason.code, reason.retriable) == ("WORKER_LOST", True)
    assert reason.message == f"the worker's {name} has ended"


async def test_a_checkpoint_that_cannot_be_uploaded_is_told_and_the_next_one_is(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, full = Uploads.send, iter([OSError(28, "No space left on device")])

    async def failing_first(uploads: Uploads, files: object) -> object:
        for problem in full:
            raise problem
        return await send(uploads, files)  # type: ignore[arg-type]

    monkeypatch.setattr(Uploads, "send", failing_first)
    # What is not uploaded by the end is not waited for, so it trains until one is.
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.2)

    async def cancel() -> None:
        await trainer.until(lambda trainer: bool(trainer.of_kind("checkpoint")))
        trainer.directive = DIRECTIVE_CANCEL

    words, _ = await asyncio.gather(supervised(trainer, cells, tmp_path), cancel())
    assert words.exit_code == 44
    kept = trainer.of_kind("checkpoint")[0].checkpoint.epoch
    [told] = warnings(trainer)
    assert told in [
        f"the checkpoint of epoch {epoch} is lost: OSError: [Errno 28] No space left on device"
        for epoch in range(1, kept)
    ]


async def test_a_report_that_fails_oddly_is_told_and_repeated(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, odd = Reporter.turn, iter([RuntimeError("odd"), RuntimeError("odd"), RuntimeError("odd")])

    async def failing(reporter: Reporter) -> None:
        for problem in odd:
            raise problem
        await turn(reporter)

    monkeypatch.setattr(Reporter, "turn", failing)
    trainer = scripted_trainer(cells, epochs=2, seconds=0.2)
    assert (await supervised(trainer, cells, tmp_path)).exit_code == 0
    assert warnings(trainer) == ["the worker's reporter failed and goes on: RuntimeError: odd"]


async def test_a_loop_that_is_fenced_says_so_and_is_not_lost() -> None:
    told: list[str] = []
    fenced = asyncio.Event()
    running = Loops(warn=told.append, fenced=fenced.set, ended=lambda: told.append("ended"))

    async def superseded() -> None:
        raise FencedError("superseded")

    running.add("reporter", superseded)
    async with running.running():
        await asyncio.wait_for(fenced.wait(), 5)
        await asyncio.sleep(0)
    assert (told, running.lost) == ([], "")
