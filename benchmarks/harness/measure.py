"""What all measurements share: options, statistics, tables, and the page that keeps them."""

import argparse
import os
import platform
import re
import signal
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Options:
    """How to run: `rounds` repetitions; `quick` with small sizes, to see that it works; `write` the tables down."""

    rounds: int
    quick: bool
    write: bool


@dataclass(frozen=True)
class Table:
    """Rows of text under columns; `note` is a line below."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def markdown(self) -> str:
        """It as Markdown that is also aligned as plain text."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        first, *rest = (
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
            for line in lines
        )
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        note = ["", self.note] if self.note else []
        return "\n".join([f"**{self.title}**", "", first, rule, *rest, *note])


def options(description: str, *, rounds: int) -> Options:
    """The options of the command line; `rounds` is the default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"repetitions ({rounds})")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.relative_to(ROOT)}")
    given = parser.parse_args()
    if given.quick and given.write:
        parser.error("what --quick measures is not worth writing down")
    # What was started is stopped also when somebody ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    return Options(rounds=given.rounds, quick=given.quick, write=given.write)


def report(name: str, tables: Sequence[Table], chosen: Options) -> None:
    """Print the tables and, where that is wanted, put them into the page between the marks of `name`."""
    text = "\n\n".join([*(table.markdown() for table in tables), circumstances()])
    print(text, flush=True)
    if chosen.write:
        write_page(PAGE, name, text)


def write_page(path: Path, name: str, text: str) -> None:
    """Put a text into a page between the marks of `name`."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    page, count = re.subn(
        f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", path.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{path.name} has {count} places for {name}")
    path.write_text(page, encoding="utf-8")


def say(text: str) -> None:
    """Tell what goes on."""
    print(f"-- {text}", flush=True)


def median_and_range(values: Sequence[float], digits: int = 2) -> str:
    """The median with the smallest and largest value."""
    median = statistics.median(values)
    return f"{median:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, pair by pair."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below `percent` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def milliseconds(seconds: float) -> str:
    """Seconds as text in milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process has taken, its children's left out."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    memory: int = psutil.Process(pid).memory_info().rss
    return memory


def forget_peak(pid: int) -> None:
    """Let the peak of a process's resident memory be counted from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_resident_bytes(pid: int) -> int:
    """The most resident memory of a process since its start, or since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) << 10


def circumstances() -> str:
    """When and on what something was measured."""
    memory = psutil.virtual_memory().total / (1 << 30)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of a shared virtual machine ({_processor()}),"
        f" {memory:.0f} GiB, Python {platform.python_version()}, load at the end {load:.1f}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
