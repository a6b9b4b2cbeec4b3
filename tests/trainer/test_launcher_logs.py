"""What the processes of the launcher have written is read and followed."""

import asyncio
from pathlib import Path

import pytest

from bloomery_trainer.launcher import logfile
from tests.trainer.shell_workers import UID, Bench, ended, runs, seen, written


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
    while await written(launcher) != ["before"]:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
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
