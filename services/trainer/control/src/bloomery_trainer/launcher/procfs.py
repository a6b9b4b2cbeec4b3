"""Processes as Linux shows them, told apart by pid, start time and boot."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

_PROC = Path("/proc")


@dataclass(frozen=True)
class Identity:
    """One process for ever: pids are used again, and start times mean something within one boot only."""

    boot_id: str
    pid: int
    start_ticks: int


def boot_id() -> str:
    """The id of this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def parse(recorded: str) -> Identity | None:
    """The identity in a boot id followed by a line of /proc/PID/stat; None if it is not all there."""
    boot, _, stat = recorded.partition("\n")
    fields = _stat_fields(stat)
    try:
        return Identity(boot.strip(), int(stat.split(" ", 1)[0]), int(fields[19]))
    except (ValueError, IndexError):
        return None


def is_alive(process: Identity) -> bool:
    """Whether that very process still runs; a zombie does not."""
    if process.boot_id != boot_id():
        return False
    fields = _stat(process.pid)
    return len(fields) > 19 and fields[0] not in "ZX" and int(fields[19]) == process.start_ticks


def kin(leader: Identity, mark: str) -> Iterator[int]:
    """Pids of what `leader` started and what still runs: its session, and all with `mark` in their environment."""
    if leader.boot_id != boot_id():
        return
    now = _stat(leader.pid)
    reused = len(now) > 19 and int(now[19]) != leader.start_ticks
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or (pid := int(entry.name)) == os.getpid():
            continue
        fields = _stat(pid)
        if not fields or fields[0] in "ZX":
            continue
        if (int(fields[3]) == leader.pid and not reused) or _has_mark(pid, mark.encode()):
            yield pid


def signal(pid: int, number: Signals) -> None:
    """Send a signal; a process that is gone, or became somebody else's, gets none."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _stat(pid: int) -> list[str]:
    try:
        return _stat_fields((_PROC / str(pid) / "stat").read_text())
    except OSError:
        return []


def _stat_fields(stat: str) -> list[str]:
    # The command's name is in parentheses and may hold anything, so count from the last one.
    return stat.rpartition(")")[2].split()


def _has_mark(pid: int, mark: bytes) -> bool:
    try:
        return mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
