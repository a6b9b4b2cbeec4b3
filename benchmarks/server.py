"""How long `bloomery up` takes to be ready, what it weighs while idle, and how quick the command line is."""

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harness.measure import (
    Table,
    cpu_seconds,
    median_and_range,
    milliseconds,
    options,
    ratios,
    report,
    resident_bytes,
    say,
)
from harness.server import SCRIPTS, Server, scratch

READY_LIMIT = 3.0
RESIDENT_LIMIT = 300.0
IDLE_SECONDS = 10.0
IDLE_LIMIT = 0.3
SETTLE_SECONDS = 15.0
WATCHED_SECONDS = 120.0


@dataclass(frozen=True)
class Start:
    """Seconds until a server was ready, and MiB that it holds after a while without work."""

    ready: float
    resident: float


def start_once(folder: Path, idle: float) -> Start:
    """Start a server, let it idle, stop it."""
    server = Server(folder, {})
    ready = server.start()
    try:
        time.sleep(idle)
        return Start(ready, resident_bytes(server.pid) / (1 << 20))
    finally:
        server.stop()


def idle_share(settle: float, watched: float) -> float:
    """Percent of one core that a server takes while nobody asks for anything."""
    with scratch() as folder:
        server = Server(folder, {})
        server.start()
        try:
            time.sleep(settle)
            before = cpu_seconds(server.pid)
            time.sleep(watched)
            return 100 * (cpu_seconds(server.pid) - before) / watched
        finally:
            server.stop()


def command_seconds(*command: str | Path) -> float:
    """How long a command takes."""
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def starts(rounds: int, idle: float) -> tuple[list[Start], list[Start]]:
    """Starts on new folders, and again on the same."""
    first, again = [], []
    for number in range(rounds):
        say(f"start {number + 1} of {rounds}")
        with scratch() as folder:
            (folder / "server").mkdir()
            first.append(start_once(folder / "server", idle))
            again.append(start_once(folder / "server", idle))
    return first, again


def commands(rounds: int) -> tuple[list[float], list[float]]:
    """`bloomery --help` beside an interpreter that does nothing."""
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(command_seconds(SCRIPTS / "bloomery", "--help"))
        bare.append(command_seconds(sys.executable, "-c", "pass"))
    return ours, bare


def main() -> None:
    """Measure and report."""
    chosen = options("bloomery up and bloomery --help", rounds=5)
    first, again = starts(chosen.rounds, 1.0 if chosen.quick else IDLE_SECONDS)
    watched = (1.0, 5.0) if chosen.quick else (SETTLE_SECONDS, WATCHED_SECONDS)
    idle = [idle_share(*watched) for _ in range(min(3, chosen.rounds))]
    ours, bare = commands(2 * chosen.rounds)
    rows = [
        ("ready, new folder (s)", median_and_range([one.ready for one in first]), f"{READY_LIMIT:g}"),
        ("ready, folder that is there (s)", median_and_range([one.ready for one in again]), f"{READY_LIMIT:g}"),
        ("resident while idle (MiB)", median_and_range([one.resident for one in first], 0), f"{RESIDENT_LIMIT:g}"),
        ("processor while idle (% of a core)", median_and_range(idle), f"{IDLE_LIMIT:g}"),
        ("`bloomery --help` (s)", median_and_range(ours), ""),
    ]
    note = (
        f"An interpreter that does nothing takes {milliseconds(statistics.median(bare))}:"
        f" `bloomery --help` is {median_and_range(ratios(ours, bare), 1)} times that."
    )
    table = Table(f"`bloomery up`, {chosen.rounds} starts", ("what", "median (range)", "limit"), rows, note)
    report("server", [table], chosen)


if __name__ == "__main__":
    main()
