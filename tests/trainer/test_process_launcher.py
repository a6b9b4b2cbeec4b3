"""The process launcher alone: one process for an attempt, found again and told apart, and gone when it is stopped."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bloomery_trainer.launcher import JobFacts, Launched, LaunchError, Order, Phase, logfile, procfs
from bloomery_trainer.launcher.machine import count
from bloomery_trainer.launcher.process import ProcessLauncher
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.settings import Machine, ProcessLauncherSettings

UID = "u" * 32
SLEEP = "echo started >>starts; exec sleep 600"


class Bench:
    """Launchers of one machine whose workers run a line of shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "python"
        self.script(SLEEP)

    def script(self, line: str) -> None:
        self.python.write_text(f"#!/bin/sh\n{line}\n")
        self.python.chmod(0o755)

    def launcher(self, *, gpus: int = 0, **options: object) -> ProcessLauncher:
        settings = ProcessLauncherSettings(
            jobs_dir=self.folder / "jobs",
            cache_dir=self.folder / "cache",
            worker_python=self.python,
            machine=Machine(cpus=4, memory_bytes=1 << 30, gpus=gpus),
        )
        return ProcessLauncher(settings, **options)  # type: ignore[arg-type]

    def order(self, attempt: int = 1, gpus: int = 0, cpus: float = 2) -> Order:
        job = JobFacts(
            UID, "projects/p", "projects/p/jobs/j", Kind.TRAIN, "recipes/r", 0, 0, Resources(cpus, 1 << 20, gpus)
        )
        return Order(job, attempt, {"BLOOMERY_TRAINER_TARGET": "here:1"}, {"BLOOMERY_ATTEMPT_TOKEN": "secret"})

    def work(self, attempt: int = 1) -> Path:
        return self.folder / "jobs" / UID / str(attempt)

    def starts(self, attempt: int = 1) -> int:
        file = self.work(attempt) / "starts"
        return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    cleaner = bench.launcher()
    for thing in await cleaner.observe():
        await cleaner.stop(thing.job_uid, thing.attempt, grace=0)


async def seen(
    launcher: ProcessLauncher, holds: Callable[[Launched | None], bool], attempt: int = 1
) -> Launched | None:
    """What a launcher sees of an attempt once something holds of it."""
    found: Launched | None = None
    for _ in range(1500):
        found = next((thing for thing in await launcher.observe() if thing.attempt == attempt), None)
        if holds(found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


def runs(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.RUNNING


def ended(thing: Launched | None) -> bool:
    return thing is not None and thing.phase is Phase.ENDED


async def test_launching_again_starts_nothing(bench: Bench) -> None:
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    await launcher.launch(bench.order())
    await bench.launcher().launch(bench.order())
    await asyncio.sleep(0.2)
    assert bench.starts() == 1


async def test_launchers_that_race_start_one_process(bench: Bench) -> None:
    launchers = [bench.launcher() for _ in range(8)]
    await asyncio.gather(*(launcher.launch(bench.order()) for launcher in launchers))
    await seen(launchers[0], runs)
    await asyncio.sleep(0.3)
    assert bench.starts() == 1


async def test_another_launcher_finds_the_process_again(bench: Bench) -> None:
    await bench.launcher().launch(bench.order())
    found = await seen(bench.launcher(), runs)
    assert found == Launched(UID, 1, Phase.RUNNING)


async def test_an_exit_code_is_seen(bench: Bench) -> None:
    bench.script("exit 42")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    thing = await seen(launcher, ended)
    assert thing is not None
    assert (thing.exit_code, thing.termination) == (42, None)


async def test_a_signal_is_seen(bench: Bench) -> None:
    bench.script("kill -9 $$")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    thing = await seen(launcher, ended)
    assert thing is not None
    assert thing.exit_code == -signal.SIGKILL


async def test_last_words_outlive_the_server(bench: Bench) -> None:
    words = '{"exit_code": 42, "finished": false, "reason": {"code": "X", "message": "m"}, "epoch": 3, "later": 1}'
    bench.script(f"echo '{words}' >\"$BLOOMERY_TERMINATION_FILE\"; exit 1")
    await bench.launcher().launch(bench.order())
    thing = await seen(bench.launcher(), ended)
    assert thing is not None
    assert thing.termination is not None
    assert (thing.exit_code, thing.termination.epoch) == (42, 3)
    assert thing.termination.reason is not None
    assert thing.termination.reason.code == "X"


@pytest.mark.parametrize("words", ["", "{", "[]", '{"exit_code": "often"}', "x" * 5000])
async def test_last_words_that_make_no_sense_are_none(bench: Bench, words: str) -> None:
    await bench.launcher().launch(bench.order())
    await seen(bench.launcher(), runs)
    (bench.work() / "termination.json").write_text(words)
    launcher = bench.launcher()
    await launcher.stop(UID, 1, grace=0)
    thing = await seen(launcher, ended)
    assert thing is not None
    assert (thing.exit_code, thing.termination) == (None, None)


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


async def test_a_process_that_may_not_be_asked_is_no_trouble(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pid: int, _signal: int) -> None:
        raise PermissionError(pid)

    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuses)
        for _ in range(2):
            await launcher.stop(UID, 1, grace=0.001)
    assert runs(await seen(launcher, lambda thing: thing is not None))


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


async def test_a_stop_asks_first_and_ends_after_the_grace(bench: Bench) -> None:
    bench.script("trap 'echo asked >>asked' TERM; echo started >>starts; while true; do sleep 0.05; done")
    now = [0.0]
    launcher = bench.launcher(clock=lambda: now[0])
    await launcher.launch(bench.order())
    for _ in range(1500):
        if bench.starts():
            break
        await asyncio.sleep(0.02)
    for _ in range(3):
        await launcher.stop(UID, 1, grace=10)
    await asyncio.sleep(0.3)
    assert (bench.work() / "asked").read_text().split() == ["asked"]
    assert runs(await seen(launcher, lambda thing: thing is not None))
    now[0] = 11
    await launcher.stop(UID, 1, grace=10)
    assert ended(await seen(launcher, ended))


async def test_nothing_outlives_its_supervisor(bench: Bench) -> None:
    # One child stays in the session, one leaves it, and one forgets its environment.
    first, second, third = (f"{600 + number}.{os.getpid()}" for number in range(3))
    bench.script(f"sleep {first} & setsid sleep {second} & env -i sleep {third} & sleep 0.3; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, ended)
    assert [name for name in (first, second, third) if _sleeps(name)] == []


def _sleeps(seconds: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            continue
    return False


async def written(launcher: ProcessLauncher, *, tail: int = 5) -> list[str]:
    return [line async for line in launcher.logs(UID, 1, tail=tail)]


async def test_the_last_lines_of_a_worker_can_be_read(bench: Bench) -> None:
    bench.script("seq 1 100; printf unfinished; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, ended)
    assert await written(launcher, tail=3) == ["99", "100", "unfinished"]
    assert await written(launcher, tail=0) == []
    assert len(await written(launcher, tail=1000)) == 101


async def test_a_workers_lines_can_be_followed_until_it_ends(bench: Bench) -> None:
    bench.script("echo before; echo last; until [ -e go ]; do sleep 0.05; done; echo after; printf end; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    for _ in range(500):
        if len(await written(launcher)) == 2:
            break
        await asyncio.sleep(0.02)
    lines = launcher.logs(UID, 1, tail=1, follow=True)
    assert await anext(lines) == "last"
    (bench.work() / "go").touch()
    assert [line async for line in lines] == ["after", "end"]


async def test_a_log_that_is_cut_while_it_is_followed_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "_POLL", 0.02)
    bench.script("echo before; until [ -e go ]; do sleep 0.05; done; echo after; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    lines = launcher.logs(UID, 1, tail=0, follow=True)
    first = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0.1)
    (bench.work() / "worker.log").write_text("")
    await asyncio.sleep(1)
    (bench.work() / "go").touch()
    assert await first == "after"


async def test_much_that_is_written_at_once_is_followed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "_POLL", 0.001)
    monkeypatch.setattr(logfile, "_AT_ONCE", 8)
    log, asked = tmp_path / "worker.log", list[Path]()

    async def ended() -> bool:
        log.write_text("one\ntwo\n" + 20 * "x" + "\nend" if asked else "")
        asked.append(log)
        return len(asked) > 1

    told = [line async for line in logfile.lines(log, tail=0, ended=ended)]
    assert told == ["one", "two", 8 * "x", 8 * "x", 4 * "x", "end"]


async def test_removing_leaves_nothing(bench: Bench) -> None:
    bench.script("echo hello; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, ended)
    assert await written(launcher) == ["hello"]
    await launcher.remove(UID, 1)
    await launcher.remove(UID, 1)
    assert (await launcher.observe(), list((bench.folder / "jobs").iterdir())) == ([], [])
    assert await written(launcher) == []


async def test_each_gpu_goes_to_one_job(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=3)
    for attempt, gpus in ((1, 2), (2, 1), (3, 0)):
        await launcher.launch(bench.order(attempt, gpus))
        await seen(launcher, runs, attempt)
    await asyncio.sleep(0.2)
    assert [(bench.work(attempt) / "devices").read_text().strip() for attempt in (1, 2, 3)] == ["0,1", "2", ""]


async def devices(bench: Bench, attempt: int) -> str:
    """What an attempt's worker sees, once it runs."""
    file = bench.work(attempt) / "devices"
    for _ in range(500):
        if file.exists() and file.read_text():
            return file.read_text().strip()
        await asyncio.sleep(0.02)
    raise AssertionError(f"attempt {attempt} never ran")


async def test_jobs_that_are_launched_at_once_get_gpus_of_their_own(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=4)
    await asyncio.gather(*(launcher.launch(bench.order(attempt, 1)) for attempt in range(1, 5)))
    assert sorted([await devices(bench, attempt) for attempt in range(1, 5)]) == ["0", "1", "2", "3"]


async def test_a_gpu_is_free_again_when_its_job_has_ended(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; [ "$BLOOMERY_CPUS" = 1 ] || exec sleep 600')
    launcher = bench.launcher(gpus=2)
    await launcher.launch(bench.order(1, 2, cpus=1))
    await seen(launcher, ended)
    await launcher.launch(bench.order(2, 2))
    assert await devices(bench, 2) == "0,1"


async def test_a_launch_that_a_server_died_in_keeps_its_gpus(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=2)
    # The worker of the first may be about to write itself down.
    bench.work(1).mkdir(parents=True)
    (bench.work(1) / "gpus.json").write_text(json.dumps({"boot": procfs.boot_id(), "gpus": [0]}))
    await launcher.launch(bench.order(2, 1))
    await launcher.launch(bench.order(1, 1))
    assert [await devices(bench, attempt) for attempt in (1, 2)] == ["0", "1"]


async def test_a_launch_that_a_machine_died_in_holds_no_gpus(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    bench.work(1).mkdir(parents=True)
    (bench.work(1) / "gpus.json").write_text(json.dumps({"boot": "another", "gpus": [0]}))
    await bench.launcher(gpus=1).launch(bench.order(2, 1))
    assert await devices(bench, 2) == "0"


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


def test_a_machine_is_counted_with_its_containers_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1048576\n")
    for device in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / device).touch()
    assert count(Machine(), devices=tmp_path, cgroup=tmp_path) == Resources(0.5, 1 << 20, 2)
    assert count(Machine(cpus=8, memory_bytes=9, gpus=0), devices=tmp_path, cgroup=tmp_path) == Resources(8, 9, 0)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    free = count(Machine(), devices=tmp_path, cgroup=tmp_path)
    assert free.cpus >= 1
    assert free.memory_bytes > 1 << 20
