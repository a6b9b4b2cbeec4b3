"""Logs that grow for as long as a job takes are cut while they are written."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bloomery_worker import logfile
from bloomery_worker.logfile import shorten

LARGEST, KEPT = 10_000, 2_000


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LARGEST", LARGEST)
    monkeypatch.setattr(logfile, "KEPT", KEPT)


@pytest.fixture
def printer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that prints what it is told into a file, as a trainer process does."""
    with (tmp_path / "log").open("ab") as log:
        command = [sys.executable, "-P", "-uc", "import sys\nfor line in sys.stdin: print(line, end='')"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, text=True)
    with process:
        yield process


def tell(printer: subprocess.Popen[str], text: str) -> None:
    assert printer.stdin is not None
    printer.stdin.write(text)
    printer.stdin.flush()


def until_it_holds(path: Path, text: str) -> str:
    while not (content := path.read_text()).endswith(text):
        pass
    return content


def test_the_end_of_a_large_log_stays_and_its_writer_goes_on(printer: subprocess.Popen[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    tell(printer, "".join(f"line {number}\n" for number in range(2000)) + "first end\n")
    until_it_holds(log, "first end\n")
    shorten(log)
    tell(printer, "second end\n")
    lines = until_it_holds(log, "second end\n").splitlines()
    assert lines[-2:] == ["first end", "second end"]
    assert lines[0] == f"line {2000 - len(lines[:-2])}"
    assert log.stat().st_size <= KEPT + len("second end\n")


def test_a_log_that_is_not_too_large_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * LARGEST)
    shorten(log)
    assert log.stat().st_size == LARGEST


def test_a_process_shortens_its_own_log(tmp_path: Path) -> None:
    code = f"""
import sys
from bloomery_worker import logfile
logfile.LARGEST, logfile.KEPT = {LARGEST}, {KEPT}
for number in range(2000):
    print("line", number, file=sys.stderr)
logfile.shorten(logfile.OWN)
print("end", file=sys.stderr)
"""
    with (tmp_path / "log").open("ab") as log:
        subprocess.run([sys.executable, "-P", "-c", code], stderr=log, check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-2:] == ["line 1999", "end"]
    assert len(lines) < 300


def test_a_pipe_and_a_missing_file_are_left_alone(tmp_path: Path) -> None:
    shorten(tmp_path / "none")
    shorten(Path("/proc/self/fd/0"))
