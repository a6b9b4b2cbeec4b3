"""What an event may hold, whatever a worker says."""

import math
from collections.abc import Iterable, Mapping, MutableMapping

from google.protobuf.message import Message

from bloomery.training.v1 import JobEvent

_SAMPLES = 16
_SHAPES = 50
_NAMES = 200
_NAME = 128


class MetricNames:
    """The names under which a job measures: `known`, and the next ones until there are enough.

    `left` is the first name that was left out, cut to what a name may be; empty while there is none.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self.left = ""

    def kept(self, values: Mapping[str, float]) -> dict[str, float]:
        """The measurements of these names that are numbers; a diverged loss is none."""
        return {name: value for name, value in values.items() if math.isfinite(value) and self._takes(name)}

    def _takes(self, name: str) -> bool:
        if len(name) <= _NAME and len(self._known) < _NAMES:
            self._known.add(name)
        if name in self._known:
            return True
        self.left = self.left or name[:_NAME]
        return False


def left_out(name: str) -> str:
    """What is said, once for a job, about measurements that are not kept."""
    return f"{name!r}, and whatever else exceeds {_NAMES} measurements with names of {_NAME} characters, is not kept"


def bound(event: JobEvent, names: MetricNames) -> None:
    """Keep no more of an event than the contract allows, and only numbers that are some."""
    if event.HasField("samples"):
        del event.samples.samples[_SAMPLES:]
        for sample in event.samples.samples:
            del sample.shapes[_SHAPES:]
    if event.HasField("metrics"):
        _replace(event.metrics.values, names)
    if event.HasField("progress"):
        _replace(event.progress.metrics, names)
        _clear_odd(event.progress)
    if event.HasField("system"):
        _clear_odd(event.system)
    if event.HasField("preflight"):
        _clear_odd(event.preflight)


def _clear_odd(message: Message) -> None:
    for field, value in message.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            message.ClearField(field.name)


def _replace(values: MutableMapping[str, float], names: MetricNames) -> None:
    kept = names.kept(values)
    values.clear()
    values.update(kept)
