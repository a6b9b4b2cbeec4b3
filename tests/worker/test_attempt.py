"""Whole attempts of real workers with a recipe that follows a script, and everything that can happen to them."""

import asyncio
import os
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.training.v1 import DIRECTIVE_CANCEL, DIRECTIVE_PAUSE, Directive, Recipe
from bloomery_worker.cache import BlobCache
from bloomery_worker.settings import WorkerSettings
from bloomery_worker.supervisor import supervise
from tests.worker.fake_trainer import TOKEN, FakeTrainer
from tests.worker.harness import SCRIPTED, running, scripted_trainer, served
from tests.worker.sample_data import Version

pytestmark = pytest.mark.timeout(150)
PATIENT = {"BLOOMERY_STOP_GRACE": "60"}
"""So long is nobody killed who was told to stop."""


def epochs_told(trainer: FakeTrainer) -> list[int]:
    return [event.metrics.epoch for event in trainer.of_kind("metrics")]


def uploaded_epochs(trainer: FakeTrainer) -> int:
    return max(int(role.partition("/")[2]) for role in trainer.kept if role.startswith("checkpoint-manifest/"))


def trained_an_epoch(trainer: FakeTrainer) -> bool:
    return bool(trainer.of_kind("checkpoint"))


async def gone(pid: int) -> None:
    """Waits until a process that is nobody's child here has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def test_success_publishes_every_file_and_tells_every_epoch(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=3)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert trainer.finished is not None
    assert trainer.finished.success.metrics["test/map50"] == 0.5
    assert trainer.finished.success.versions["bloomery-worker"] == version("bloomery-worker")
    assert trainer.content("checkpoint") == b"3 epochs"
    assert epochs_told(trainer) == [1, 2, 3]
    assert worker.last_words["finished"] is True


async def test_checkpoints_that_people_asked_for_arrive_however_soon_training_ends(
    cells: Version, tmp_path: Path
) -> None:
    trainer = scripted_trainer(cells, epochs=5, seconds=0.0, save_every=1)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert {f"checkpoint-manifest/{epoch}" for epoch in range(1, 6)} <= trainer.kept.keys()


async def test_what_is_no_number_is_left_out_of_a_result(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1, trouble="no numbers")
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert trainer.finished is not None
    success = trainer.finished.success
    assert dict(success.metrics) == {"test/map50": 0.5}
    assert MessageToDict(success.details) == {"epochs": 1, "far": [None]}
    lines = [event.log.message for event in trainer.of_kind("log")]
    assert "measurements that are no numbers are left out: test/loss" in lines


async def test_a_service_that_is_away_costs_no_event_and_no_training(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=6, seconds=0.2)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer.away = True
        await asyncio.sleep(2)
        assert worker.process.returncode is None
        trainer.away = False
        assert await worker.exit_code() == 0, worker.output
    assert epochs_told(trainer) == [1, 2, 3, 4, 5, 6]


async def test_reports_go_on_once_the_service_is_back(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.2)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer.away = True
        refused = trainer.calls + 1
        await trainer.until(lambda trainer: trainer.calls > refused)
        known = len(epochs_told(trainer))
        trainer.away = False
        await trainer.until(lambda trainer: len(epochs_told(trainer)) > known)
        trainer.directive = DIRECTIVE_CANCEL
        assert await worker.exit_code() == 44, worker.output
    told = epochs_told(trainer)
    assert told == list(range(1, len(told) + 1))


async def test_reports_whose_replies_are_lost_are_not_told_twice(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=4, seconds=0.1)
    trainer.lose_replies = 4
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert trainer.lose_replies == 0
    assert epochs_told(trainer) == [1, 2, 3, 4]


async def test_an_object_store_that_fails_for_a_while_is_tried_again(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    trainer.blobs.broken = 3
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert trainer.blobs.broken == 0


async def test_damaged_bytes_are_a_data_error_that_names_the_image(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    key = next(key for key in cells.blobs if "datasets" not in key)
    trainer.blobs.corrupt.add(key)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 42, worker.output
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert (reason.code, reason.retriable) == ("DATA_ERROR", False)
    assert ".jpg" in reason.message


async def test_the_cache_spares_the_second_download(cells: Version, tmp_path: Path) -> None:
    first, second = scripted_trainer(cells, epochs=1), scripted_trainer(cells, epochs=1)
    for trainer in (first, second):
        async with served(trainer, cells), running(trainer, tmp_path) as worker:
            assert await worker.exit_code() == 0, worker.output
        # Each attempt has a folder of its own; the cache is the machine's.
        shutil.rmtree(tmp_path / "work")
    assert first.blobs.served
    assert second.blobs.served == []


async def test_what_an_attempt_works_on_stays_in_the_cache_however_long_it_takes(
    cells: Version, tmp_path: Path
) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.2)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        inputs = {path for path in (tmp_path / "cache").glob("??/*") if path.is_file()}
        assert len(inputs) == len(cells.blobs)
        for path in inputs:
            os.utime(path, (0, 0))
        other_job = BlobCache(tmp_path / "cache")
        assert other_job.evict(0) == 0
        assert all(path.exists() for path in inputs)
        trainer.directive = DIRECTIVE_CANCEL
        assert await worker.exit_code() == 44, worker.output
    assert other_job.evict(0) == sum(map(len, cells.blobs.values()))


@pytest.mark.parametrize("directive", [DIRECTIVE_PAUSE, DIRECTIVE_CANCEL])
async def test_a_directive_to_stop_keeps_the_last_checkpoint(
    cells: Version, tmp_path: Path, directive: Directive.ValueType
) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer.directive = directive
        # Less than the grace, after which the recipe would be killed.
        assert await worker.exit_code(seconds=30) == 44, worker.output
    assert trainer.finished is not None
    epoch = trainer.finished.stopped.epoch
    assert epoch == trainer.of_kind("checkpoint")[-1].checkpoint.epoch >= 1
    assert trainer.content(f"checkpoint/{epoch}/state.txt") == str(epoch).encode()


async def test_a_forced_cancellation_does_not_wait_for_the_recipe(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3, deaf=True)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer.directive, trainer.force = DIRECTIVE_CANCEL, True
        assert await worker.exit_code(seconds=15) == 44, worker.output


async def test_a_recipe_that_does_not_listen_is_killed_after_the_grace(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3, deaf=True)
    settings = {"BLOOMERY_STOP_GRACE": "1"}
    async with served(trainer, cells), running(trainer, tmp_path, settings=settings) as worker:
        await trainer.until(trained_an_epoch)
        trainer_pid = worker.trainer_pid()
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(seconds=20) == 44, worker.output
        await gone(trainer_pid)
    assert trainer.finished is not None
    assert trainer.finished.stopped.epoch >= 1


async def test_a_signal_shortens_the_grace_that_a_pause_left(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3, deaf=True)
    settings = {"BLOOMERY_STOP_GRACE": "1"}
    async with served(trainer, cells), running(trainer, tmp_path, settings=settings) as worker:
        await trainer.until(trained_an_epoch)
        trainer.directive = DIRECTIVE_PAUSE
        reports = len(trainer.stalled)
        await trainer.until(lambda trainer: len(trainer.stalled) > reports + 1)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(seconds=20) == 44, worker.output


async def test_sigterm_ends_with_a_checkpoint(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path, settings=PATIENT) as worker:
        await trainer.until(trained_an_epoch)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(seconds=30) == 44, worker.output
    assert trainer.finished is not None
    assert worker.last_words == {
        "exit_code": 44, "finished": True, "reason": None, "epoch": trainer.finished.stopped.epoch
    }  # fmt: skip


async def test_sigterm_waits_for_the_checkpoint_that_is_uploaded(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path, settings=PATIENT) as worker:
        await trainer.until(trained_an_epoch)
        trainer.blobs.broken = 3
        await trainer.until(lambda trainer: trainer.blobs.broken < 3)
        before = uploaded_epochs(trainer)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code() == 44, worker.output
    assert trainer.finished is not None
    assert trainer.finished.stopped.epoch == uploaded_epochs(trainer) > before


async def test_sigterm_while_the_service_is_away_ends_in_time(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    trainer.away = True
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(lambda trainer: trainer.calls > 0)
        worker.process.send_signal(signal.SIGTERM)
        assert await worker.exit_code(seconds=10) == 44, worker.output
    assert worker.last_words["finished"] is False


async def test_a_stopped_attempt_goes_on_in_the_next_one(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=4, seconds=0.4)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer.directive = DIRECTIVE_PAUSE
        assert await worker.exit_code() == 44, worker.output
    assert trainer.finished is not None
    again = trainer.successor(trainer.finished.stopped.epoch)
    async with served(again, cells), running(again, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert epochs_told(again) == list(range(again.resume_epoch + 1, 5))


async def test_a_fenced_worker_publishes_nothing(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer_pid = worker.trainer_pid()
        trainer.superseded = True
        assert await worker.exit_code(seconds=30) == 43, worker.output
        await gone(trainer_pid)
    assert trainer.finished is None


async def test_a_worker_tells_its_incarnation_and_a_used_token_fences_it(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    given = {"BLOOMERY_INCARNATION": "pod-2"}
    async with served(trainer, cells), running(trainer, tmp_path, token="old", settings=given) as worker:
        assert await worker.exit_code() == 43, worker.output
    assert trainer.incarnation == "pod-2"


@pytest.mark.parametrize(
    ("trouble", "code", "retriable", "exit_code"),
    [
        ("preflight", "DATA_ERROR", False, 42),
        ("memory", "OOM_HOST", True, 1),
        ("gpu memory", "OOM_GPU", False, 42),
        ("loader", "OOM_HOST", True, 1),
        ("bug", "USER_CODE", False, 42),
        ("exit", "USER_CODE", False, 42),
        ("kill", "WORKER_LOST", True, 1),
    ],
)
async def test_trouble_has_a_reason(
    cells: Version, tmp_path: Path, trouble: str, code: str, retriable: bool, exit_code: int
) -> None:
    trainer = scripted_trainer(cells, epochs=5, trouble=trouble)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == exit_code, worker.output
    assert trainer.finished is not None
    failure = trainer.finished.failure
    assert (failure.reason.code, failure.reason.retriable) == (code, retriable)
    assert failure.reason.message
    assert failure.reason.hint
    if code.startswith("OOM"):
        assert "choose a batch of at most 10" in failure.reason.hint
    if trouble == "exit":
        assert "last words of the trainer" in failure.log_tail
        assert failure.exit_code == 7
    assert worker.last_words["reason"]


async def test_a_kill_while_the_kernel_ran_out_of_memory_is_told_apart(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter([3, 4])
    monkeypatch.setattr("bloomery_worker.supervisor.out_of_memory_kills", lambda: next(kills))
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTED))
    trainer = scripted_trainer(cells, epochs=5, trouble="kill")
    async with served(trainer, cells):
        settings = WorkerSettings(
            target=trainer.target, token=TOKEN, work_dir=tmp_path, cache_dir=tmp_path, termination_file=tmp_path / "end"
        )
        assert (await supervise(settings)).exit_code == 1
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert (reason.code, reason.retriable) == ("OOM_HOST", True)
    assert "choose a batch of at most 10" in reason.hint


async def test_a_child_of_the_data_loader_that_is_killed_is_reported(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    trainer.recipe = Recipe(name="recipes/loading", module="loading", task=trainer.recipe.task)
    path = {"PYTHONPATH": str(Path(__file__).parent / "loading")}
    async with served(trainer, cells), running(trainer, tmp_path, settings=path) as worker:
        assert await worker.exit_code(seconds=100) == 1, worker.output
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert (reason.code, reason.retriable) == ("OOM_HOST", True)
    assert "DataLoader worker" in reason.message
    assert reason.hint


async def test_a_recipe_that_is_not_installed_is_a_config_error(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1)
    trainer.recipe = Recipe(name="recipes/other", module="not_there.recipe")
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 42, worker.output
    assert trainer.finished is not None
    assert trainer.finished.failure.reason.code == "CONFIG_ERROR"


async def test_nothing_survives_the_supervisor(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        trainer_pid = worker.trainer_pid()
        os.kill(worker.process.pid, signal.SIGKILL)
        await gone(trainer_pid)


async def test_children_of_the_trainer_end_with_it(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=2, trouble="child")
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        assert await worker.exit_code() == 0, worker.output
        await gone(int((worker.work_dir / "child.pid").read_text()))


async def test_the_token_is_not_handed_on(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1000, seconds=0.3)
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(trained_an_epoch)
        assert "BLOOMERY_ATTEMPT_TOKEN" not in psutil.Process(worker.trainer_pid()).environ()


async def test_a_trainer_that_does_not_move_is_told_to_be_stalled(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=2, seconds=3)
    async with served(trainer, cells), running(trainer, tmp_path, settings={"BLOOMERY_STALL_AFTER": "1"}) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert True in trainer.stalled
    assert False in trainer.stalled[trainer.stalled.index(True) :]


async def test_the_load_of_the_trainer_is_told(cells: Version, tmp_path: Path) -> None:
    trainer = scripted_trainer(cells, epochs=1, seconds=1)
    async with served(trainer, cells), running(trainer, tmp_path, settings={"BLOOMERY_STALL_AFTER": "1"}) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert max(event.system.memory_bytes for event in trainer.of_kind("system")) > 1 << 20
