"""Jobs run by real processes, which speak the real protocol."""

import asyncio
from pathlib import Path

import psutil
import pytest

from bloomery.training.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_FAILED,
    JOB_STATE_PAUSED,
    JOB_STATE_PENDING,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    CancelJobRequest,
    DeleteJobRequest,
    GetLogsRequest,
    Job,
    JobState,
    ListCheckpointsRequest,
    PauseJobRequest,
    ResumeJobRequest,
    WatchJobResponse,
)
from bloomery_trainer.launcher.process import ProcessLauncher
from tests.trainer.bench import Trainer, World, running_trainer

LONG = {"epochs": 1000, "pace": 0.05}
GATED = {"epochs": 6, "gate": 2}


def states(messages: list[WatchJobResponse]) -> list[str]:
    changes = [message.event.state_changed for message in messages if message.event.HasField("state_changed")]
    moves = [change.to_state for change in changes if change.to_state != change.from_state]
    return [JobState.Name(state).removeprefix("JOB_STATE_") for state in moves]


def epochs(messages: list[WatchJobResponse]) -> list[int]:
    return [message.event.metrics.epoch for message in messages if message.event.HasField("metrics")]


def folder(world: World, job: Job, attempt: int = 1) -> Path:
    return world.folder / "jobs" / job.uid / str(attempt)


def supervisor(world: World, job: Job, attempt: int = 1) -> psutil.Process:
    return psutil.Process(int((folder(world, job, attempt) / "process").read_text().split("\n")[1].split()[0]))


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def written(file: Path) -> str:
    """What a worker writes into a file, sooner or later."""
    for _ in range(1500):
        if text := _text(file):
            return text
        await asyncio.sleep(0.02)
    raise AssertionError(f"{file} was not written")


def open_gate(world: World) -> None:
    """Let the workers on that wait after their second epoch."""
    (world.folder / "gate").touch()


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_job_runs_to_its_result(trainer: Trainer) -> None:
    job = await trainer.create()
    done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    assert [artifact.role for artifact in done.result.artifacts] == ["checkpoint", "metrics"]
    assert done.result.metrics["test/map50"] == 0.5
    assert (done.progress.fraction, done.progress.epoch) == (1.0, 2)
    messages = await trainer.watch(job.name)
    assert states(messages) == ["PENDING", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED"]
    assert messages[-1].sequence == done.last_sequence


async def test_a_finished_job_leaves_no_process_and_no_folder(trainer: Trainer) -> None:
    job = await trainer.create()
    await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    for _ in range(600):
        if not folder(trainer.world, job).parent.exists():
            return
        await asyncio.sleep(0.05)
    pytest.fail("the folder is still there")


async def test_the_worker_sees_its_own_environment_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PYTHONPATH": "/nowhere", "AWS_SECRET_ACCESS_KEY": "x", "BLOOMERY_WEIGHTS": "/weights"}.items():
        monkeypatch.setenv(name, value)
    async with running_trainer(world) as trainer:
        job = await trainer.create(parameters=LONG)
        await trainer.reaches(job.name, JOB_STATE_RUNNING)
        environment = supervisor(world, job).environ()
        await trainer.jobs.CancelJob(CancelJobRequest(name=job.name, force=True))
        await trainer.reaches(job.name, JOB_STATE_CANCELLED)
    assert environment["BLOOMERY_WEIGHTS"] == "/weights"
    assert environment["BLOOMERY_CPUS"] == "1"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert int(environment["BLOOMERY_MEMORY_BYTES"]) > 0
    assert not {"PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "BLOOMERY_TOKEN"} & environment.keys()


async def test_a_cancelled_job_saves_a_checkpoint_first(trainer: Trainer) -> None:
    job = await trainer.create(parameters=LONG)
    await trainer.until(job.name, lambda job: job.progress.epoch >= 1)
    process = supervisor(trainer.world, job)
    await trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    done = await trainer.reaches(job.name, JOB_STATE_CANCELLED)
    kept = await trainer.jobs.ListCheckpoints(ListCheckpointsRequest(parent=job.name))
    assert max(checkpoint.epoch for checkpoint in kept.checkpoints) == done.progress.epoch
    assert not runs(process.pid)
    assert not done.HasField("result")


async def test_a_deaf_worker_is_killed_with_everything_it_started(world: World) -> None:
    impatient = world.settings().policy.model_copy(update={"cancel_grace": 1.0})
    async with running_trainer(world, policy=impatient) as trainer:
        job = await trainer.create("deaf")
        await trainer.reaches(job.name, JOB_STATE_RUNNING)
        process, child_file = supervisor(world, job), folder(world, job) / "child"
        child = int(await written(child_file))
        await trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
        await trainer.reaches(job.name, JOB_STATE_CANCELLED)
        assert not runs(process.pid)
        assert not runs(child)


async def test_force_does_not_wait_for_a_checkpoint(trainer: Trainer) -> None:
    job = await trainer.create("deaf")
    await trainer.reaches(job.name, JOB_STATE_RUNNING)
    await trainer.jobs.CancelJob(CancelJobRequest(name=job.name, force=True))
    await trainer.reaches(job.name, JOB_STATE_CANCELLED)


async def test_a_killed_worker_goes_on_from_its_checkpoint(trainer: Trainer) -> None:
    job = await trainer.create("crash-once", parameters={"epochs": 4})
    done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    assert done.attempt == 2
    messages = await trainer.watch(job.name)
    assert epochs(messages) == [1, 2, 3, 4]
    assert "WORKER_LOST" in {message.event.state_changed.reason.code for message in messages}


async def test_pause_gives_the_machine_back_and_resume_goes_on(trainer: Trainer) -> None:
    job = await trainer.create(parameters=GATED)
    await trainer.until(job.name, lambda job: job.progress.epoch >= 2)
    process = supervisor(trainer.world, job)
    await trainer.jobs.PauseJob(PauseJobRequest(name=job.name))
    await trainer.reaches(job.name, JOB_STATE_PAUSED)
    assert not runs(process.pid)
    open_gate(trainer.world)
    await trainer.jobs.ResumeJob(ResumeJobRequest(name=job.name))
    done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    assert done.attempt == 2
    assert epochs(await trainer.watch(job.name)) == [1, 2, 3, 4, 5, 6]


async def test_a_users_error_is_not_tried_again(trainer: Trainer) -> None:
    job = await trainer.create("fail")
    done = await trainer.reaches(job.name, JOB_STATE_FAILED)
    assert (done.attempt, done.reason.code, done.reason.hint) == (1, "DATA_ERROR", "look at them")
    logs = await trainer.jobs.GetLogs(GetLogsRequest(name=job.name))
    assert [entry.line.message for entry in logs.entries][-2:] == ["line one", "line two"]


async def test_last_words_reach_the_user_without_a_network(trainer: Trainer) -> None:
    job = await trainer.create("give-up-offline")
    done = await trainer.reaches(job.name, JOB_STATE_FAILED)
    assert (done.reason.code, done.reason.hint) == ("OOM_GPU", "batch=4 fits")


async def test_an_end_without_a_result_is_tried_again_within_the_budget(trainer: Trainer) -> None:
    job = await trainer.create("forget")
    done = await trainer.reaches(job.name, JOB_STATE_FAILED)
    assert (done.attempt, done.reason.code) == (3, "COMPLETED_WITHOUT_RESULT")


async def test_a_result_that_nobody_announced_is_adopted(trainer: Trainer) -> None:
    job = await trainer.create("leave-manifest")
    done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    assert (done.attempt, len(done.result.artifacts)) == (1, 2)


async def test_a_worker_outlives_the_server_and_is_adopted(world: World) -> None:
    async with running_trainer(world) as trainer:
        job = await trainer.create(parameters=GATED)
        await trainer.until(job.name, lambda job: job.progress.epoch >= 2)
        process, port = supervisor(world, job), trainer.worker_host.port
    assert runs(process.pid)
    open_gate(world)
    async with running_trainer(world, worker_port=port) as trainer:
        done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
        assert done.attempt == 1
        assert epochs(await trainer.watch(job.name)) == [1, 2, 3, 4, 5, 6]


async def test_jobs_that_were_stopped_with_the_server_go_on_with_the_next(world: World) -> None:
    async with running_trainer(world) as trainer:
        job = await trainer.create(parameters=GATED)
        await trainer.until(job.name, lambda job: job.progress.epoch >= 2)
        process = supervisor(world, job)
        await trainer.app.stop_jobs()
        assert not runs(process.pid)
    open_gate(world)
    async with running_trainer(world) as trainer:
        done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
        assert done.attempt == 2
        assert epochs(await trainer.watch(job.name)) == [1, 2, 3, 4, 5, 6]


async def test_jobs_wait_while_the_machine_is_full_and_start_by_priority(trainer: Trainer) -> None:
    both = [await trainer.create(parameters=LONG) for _ in range(2)]
    for job in both:
        await trainer.reaches(job.name, JOB_STATE_RUNNING)
    plain = await trainer.create()
    urgent = await trainer.create(priority=5)
    for job in (plain, urgent):
        waiting = await trainer.until(job.name, lambda job: job.reason.code == "QUOTA_WAIT")
        assert waiting.state == JOB_STATE_PENDING
    await trainer.jobs.CancelJob(CancelJobRequest(name=both[0].name))
    urgent = await trainer.reaches(urgent.name, JOB_STATE_SUCCEEDED)
    plain = await trainer.reaches(plain.name, JOB_STATE_SUCCEEDED)
    assert urgent.start_time.ToNanoseconds() < plain.start_time.ToNanoseconds()
    await trainer.jobs.CancelJob(CancelJobRequest(name=both[1].name, force=True))
    await trainer.reaches(both[1].name, JOB_STATE_CANCELLED)


async def test_a_missing_worker_environment_is_said_with_a_hint(world: World) -> None:
    launcher = world.launcher(worker_python=world.folder / "nothing/bin/python")
    async with running_trainer(world, launcher=ProcessLauncher(launcher)) as trainer:
        job = await trainer.create()
        done = await trainer.reaches(job.name, JOB_STATE_FAILED)
    assert done.reason.code == "CONFIG_ERROR"
    assert "make setup" in done.reason.hint


async def test_a_deleted_job_gives_back_its_inputs_and_files(trainer: Trainer) -> None:
    job = await trainer.create()
    await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    kept = {artifact.logical_key for artifact in (await trainer.get(job.name)).result.artifacts}
    assert trainer.world.datasets.holders == {(job.dataset_version, f"projects/cells/jobs/{job.uid}")}
    await trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    blobs = trainer.world.folder / "blobs"
    left: set[str] = set()
    for _ in range(600):
        left = {
            path.relative_to(blobs).as_posix() for path in blobs.rglob("*") if path.is_file() and job.uid in str(path)
        }
        if left == kept and not trainer.world.datasets.holders:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"left: {left - kept}, holders: {trainer.world.datasets.holders}")
