"""The process launcher: one process for an attempt, found again and told apart from everybody else's."""

import asyncio
import os
from pathlib import Path

import pytest

from bloomery_trainer.launcher import Launched, LaunchError, Phase, procfs
from tests.trainer.shell_workers import UID, Bench, ended, runs, seen


async def test_another_launcher_finds_the_process_again(bench: Bench) -> None:
    await bench.launcher().launch(bench.order())
    found = await seen(bench.launcher(), runs)
    assert found == Launched(UID, 1, Phase.RUNNING)


def _stat(pid: int | str) -> str:
    return Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.parametrize("field", ["boot", "start"])
async def test_a_pid_that_is_used_again_is_somebody_else(bench: Bench, field: str) -> None:
    boot, stat = f"{procfs.boot_id()}\n", _stat("self")
    if field == "boot":
        boot = "00000000-0000-0000-0000-000000000000\n"
    else:
        head, _, tail = stat.rpartition(")")
        fields = tail.split()
        fields[19] = str(int(fields[19]) + 1)
        stat = f"{head}) {' '.join(fields)}\n"
    bench.work().mkdir(parents=True)
    (bench.work() / "process").write_text(boot + stat)
    launcher = bench.launcher()
    assert ended(await seen(launcher, lambda thing: thing is not None))
    await launcher.stop(UID, 1, grace=0)


async def test_a_stop_asks_nobody_else_that_got_the_pid(bench: Bench, tmp_path: Path) -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    head, _, tail = _stat(stranger.pid).rpartition(")")
    fields = tail.split()
    fields[19] = str(int(fields[19]) - 1)
    bench.work().mkdir(parents=True)
    (bench.work() / "process").write_text(f"{procfs.boot_id()}\n{head}) {' '.join(fields)}\n")
    await bench.launcher().stop(UID, 1, grace=10)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stranger.wait(), 0.2)
    stranger.kill()
    await stranger.wait()


async def test_an_attempt_that_was_never_started_can_be_launched(bench: Bench) -> None:
    bench.work().mkdir(parents=True)
    launcher = bench.launcher()
    assert await launcher.observe() == []
    await launcher.launch(bench.order())
    assert runs(await seen(launcher, runs))


async def test_a_worker_whose_file_cannot_be_read_is_not_taken_for_one_that_waits(bench: Bench) -> None:
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    process = bench.work() / "process"
    process.rename(bench.work() / "kept")
    process.mkdir()
    with pytest.raises(IsADirectoryError):
        await launcher.observe()
    process.rmdir()
    (bench.work() / "kept").rename(process)
    assert runs(await seen(launcher, runs))


async def test_folders_that_cannot_be_read_do_not_look_deleted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: object) -> None:
        raise PermissionError(path)

    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuses)
        with pytest.raises(PermissionError):
            await launcher.observe()


async def test_a_missing_interpreter_is_the_installations_fault(bench: Bench) -> None:
    bench.python.unlink()
    with pytest.raises(LaunchError) as caught:
        await bench.launcher().launch(bench.order())
    assert (caught.value.reason.code, caught.value.reason.retriable) == ("CONFIG_ERROR", False)
    assert not bench.work().exists()


async def test_a_folder_that_cannot_be_made_is_tried_again(bench: Bench) -> None:
    launcher = bench.launcher()
    (bench.folder / "jobs" / UID).write_text("in the way")
    with pytest.raises(LaunchError) as caught:
        await launcher.launch(bench.order())
    assert (caught.value.reason.code, caught.value.reason.retriable) == ("LAUNCH_FAILED", True)
