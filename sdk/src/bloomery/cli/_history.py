"""What a watcher of a job has seen so far."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from bloomery._evaluations import is_main
from bloomery._names import size
from bloomery.cli._output import duration

if TYPE_CHECKING:
    from bloomery import Event
    from bloomery.training.v1 import PreflightReported, SystemReported

_POINTS = 512
_BLOCKS = "▁▂▃▄▅▆▇█"
WARNING = 3
"""Level of the least serious line of a log that is shown."""


class History:
    """A job's measurements over time, its preflight, load and last warnings, folded from its events in order."""

    def __init__(self) -> None:
        self.series: dict[str, deque[float]] = {}
        self.warnings: deque[str] = deque(maxlen=5)
        self.preflight = ""
        self.load = ""

    def apply(self, event: "Event") -> None:
        """Take in the next event."""
        match event.kind:
            case "metrics":
                for name, value in event.metrics.items():
                    self.series.setdefault(name, deque(maxlen=_POINTS)).append(value)
            case "preflight":
                self.preflight = needs(event.proto.preflight)
            case "system":
                self.load = load(event.proto.system)
            case "log" if event.proto.log.level >= WARNING:
                self.warnings.append(event.proto.log.message)

    def rate(self) -> str:
        """The newest learning rate; empty where none is known."""
        return f"lr {self.series['lr'][-1]:.3g}" if "lr" in self.series else ""

    def charted(self) -> list[str]:
        """The measurements to show: losses, then scores."""
        names = sorted(self.series)
        return [name for name in names if "loss" in name] + [name for name in names if _is_score(name)]


def needs(found: "PreflightReported") -> str:
    """What a step takes, on one line."""
    fit = f", at most {found.largest_batch} fit" if found.largest_batch else ""
    memory = f"{found.peak_memory_bytes / 2**30:.1f} of {found.memory_limit_bytes / 2**30:.1f} GiB"
    times = f"{found.seconds_per_step:.2g} s a step, about {duration(found.seconds_per_epoch)} an epoch at the moment"
    return f"batch {found.batch} takes {memory}{fit}; {times}"


def load(seen: "SystemReported") -> str:
    """What the work takes of its machine, on one line."""
    gpu = f"GPU {seen.gpu_utilization:.0%} {size(seen.gpu_memory_bytes)}" if seen.gpu_memory_bytes else ""
    return "  ".join(filter(None, (f"{seen.cpus:.1f} cores", size(seen.memory_bytes), gpu)))


def headline(metrics: Sequence[tuple[str, float]]) -> str:
    """Losses and scores of an epoch on one line."""
    shown = [(name, value) for name, value in metrics if "loss" in name or _is_score(name)]
    return "  ".join(f"{name} {value:.4g}" for name, value in shown)


def _is_score(name: str) -> bool:
    return ("map" in name.lower() or "accuracy" in name) and is_main(name)


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """A row of bars, one for each value, or for the mean of as many as fit into `width` bars."""
    if not values:
        return ""
    bars = min(width, len(values))
    edges = [round(index * len(values) / bars) for index in range(bars + 1)]
    points = list(values)
    means = [sum(points[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)
