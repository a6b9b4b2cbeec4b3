"""How the processes of the launcher end, and what is left of them."""

import os
import signal
from pathlib import Path

import pytest

from tests.trainer.shell_workers import UID, Bench, ended, runs, said, seen, written


async def test_a_signal_is_seen(bench: Bench) -> None:
    bench.script("kill -9 $$")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    thing = await seen(launcher, ended)
    assert thing is not None
    assert thing.exit_code == -signal.SIGKILL


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


async def test_a_stop_asks_first_and_ends_after_the_grace(bench: Bench) -> None:
    bench.script("trap 'echo asked >>asked' TERM; echo started >>starts; while true; do sleep 0.05; done")
    now = [0.0]
    launcher = bench.launcher(clock=lambda: now[0])
    await launcher.launch(bench.order())
    await said(bench.work() / "starts")
    for _ in range(3):
        await launcher.stop(UID, 1, grace=10)
    assert await said(bench.work() / "asked") == "asked"
    assert runs(await seen(launcher, lambda thing: thing is not None))
    now[0] = 11
    await launcher.stop(UID, 1, grace=10)
    assert ended(await seen(launcher, ended))


def _sleeps(seconds: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            continue
    return False


async def test_nothing_outlives_its_supervisor(bench: Bench) -> None:
    # One child stays in the session, one leaves it, and one forgets its environment.
    first, second, third = (f"{600 + number}.{os.getpid()}" for number in range(3))
    bench.script(f"sleep {first} & setsid sleep {second} & env -i sleep {third} & sleep 0.3; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, ended)
    assert [name for name in (first, second, third) if _sleeps(name)] == []


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
