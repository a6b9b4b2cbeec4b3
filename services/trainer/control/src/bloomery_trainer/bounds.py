"""What an event may hold, whatever a worker says."""

import math
from collections.abc import MutableMapping

from google.protobuf.message import Message

from bloomery.training.v1 import JobEvent
from bloomery_trainer.progress import bounded

_SAMPLES = 16
_SHAPES = 50


def bound(event: JobEvent) -> None:
    """Keep no more of an event than the contract allows, and only numbers that are some."""
    if event.HasField("samples"):
        del event.samples.samples[_SAMPLES:]
        for sample in event.samples.samples:
            del sample.shapes[_SHAPES:]
    if event.HasField("metrics"):
        _replace(event.metrics.values)
    if event.HasField("progress"):
        _replace(event.progress.metrics)
        _clear_odd(event.progress)
    if event.HasField("system"):
        _clear_odd(event.system)
    if event.HasField("preflight"):
        _clear_odd(event.preflight)


def _clear_odd(message: Message) -> None:
    for field, value in message.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            message.ClearField(field.name)


def _replace(values: MutableMapping[str, float]) -> None:
    kept = bounded(values)
    values.clear()
    values.update(kept)
