"""The energy that the machine takes while it works, by counters in its processors and GPUs."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of energy in units of `joules`; after `span` it begins again at 0, where it has a `span`."""

    read: Callable[[], int | None]
    joules: float
    span: int = 0


class EnergyMeter:
    """Adds up what counters have moved by since it was made. Read it more often than any of them begins again."""

    def __init__(self, counters: list[Counter]) -> None:
        found = [(counter, counter.read()) for counter in counters]
        self._last = {counter: value for counter, value in found if value is not None}
        self._joules = 0.0
        self._lock = threading.Lock()

    def read(self) -> float | None:
        """Joules so far; None where nothing can be read."""
        with self._lock:
            for counter, before in self._last.items():
                now = counter.read()
                if now is not None:
                    self._joules += moved(before, now, counter.span) * counter.joules
                    self._last[counter] = now
            return self._joules if self._last else None


def moved(before: int, now: int, span: int) -> int:
    """How far a counter went that may have begun again once; nothing where one without a span was set back."""
    if now >= before:
        return now - before
    return span - before + now if span else 0


def processor_counters(root: Path = POWERCAP) -> list[Counter]:
    """RAPL's: the processors and the memory beside them, as far as this process may read them.

    Zones inside others (cores, graphics) and around them (the platform) would count twice.
    """
    counters = []
    for zone in sorted(root.glob("intel-rapl:*")):
        name, span = _text(zone / "name"), _text(zone / "max_energy_range_uj")
        if name.startswith("package-") or name == "dram":
            counters.append(Counter(_reader(zone / "energy_uj"), MICRO, int(span or 0)))
    return counters


def _reader(file: Path) -> Callable[[], int | None]:
    def read() -> int | None:
        text = _text(file)
        return int(text) if text.isdigit() else None

    return read


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
