"""What the processes of the launcher have written is read and followed."""

from pathlib import Path

import pytest

from bloomery_trainer.launcher import logfile
from tests.trainer.shell_workers import UID, Bench, runs, seen, until, written


async def test_a_workers_lines_can_be_followed_until_it_ends(bench: Bench) -> None:
    bench.script("echo before; echo last; until [ -e go ]; do sleep 0.05; done; echo after; printf end; exit 0")
    launcher = bench.launcher()
    await launcher.launch(bench.order())
    await seen(launcher, runs)
    await until(lambda: written(launcher), lambda lines: len(lines) == 2)
    lines = launcher.logs(UID, 1, tail=1, follow=True)
    assert await anext(lines) == "last"
    (bench.work() / "go").touch()
    assert [line async for line in lines] == ["after", "end"]


async def test_a_log_that_is_cut_while_it_is_followed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "_POLL", 0.001)
    log = tmp_path / "worker.log"
    # What the log holds when it is asked for, and at each look after that.
    held = iter(["before\n", "before\nmore\n", "", "after\n"])

    async def ended() -> bool:
        text = next(held)
        log.write_text(text)
        return text == "after\n"

    assert [line async for line in logfile.lines(log, tail=0, ended=ended)] == ["more", "after"]


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
