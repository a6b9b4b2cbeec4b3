"""Notes of the trainer process as events of the contract."""

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime

from bloomery.training.v1 import (
    CheckpointSaved,
    JobEvent,
    LogLine,
    MetricsReported,
    PreflightReported,
    Progress,
    SamplePrediction,
    SamplesPredicted,
    SystemReported,
)
from bloomery.vision.v1 import Shape
from bloomery_vision.geometry import Box, Found, Geometry, Mask, Tag
from bloomery_vision.messages import found_message
from bloomery_worker.messages import (
    LogNote,
    MetricsNote,
    PreflightNote,
    ProgressNote,
    SampleNote,
    SamplesNote,
    ShapeNote,
)

Clock = Callable[[], datetime]
MAX_LINE = 4_000


def utc_now() -> datetime:
    """The time, for the `time` of events."""
    return datetime.now(UTC)


def progress_event(note: ProgressNote, *, clock: Clock = utc_now) -> JobEvent:
    """How far the work is."""
    progress = Progress(
        phase=note.phase,
        epoch=note.epoch,
        epochs=note.epochs,
        step=note.step,
        steps=note.steps,
        fraction=note.fraction,
        device=note.device,
    )
    return _stamped(JobEvent(progress=progress), clock)


def metrics_event(note: MetricsNote, *, clock: Clock = utc_now) -> JobEvent:
    """Measurements; those that are no numbers are left out, because nobody can draw them."""
    values = {name: value for name, value in note.values.items() if math.isfinite(value)}
    reported = MetricsReported(epoch=note.epoch, step=note.step, values=values, epoch_end=note.epoch_end)
    return _stamped(JobEvent(metrics=reported), clock)


def preflight_event(note: PreflightNote, *, clock: Clock = utc_now) -> JobEvent:
    """What one step takes."""
    reported = PreflightReported(
        device=note.device,
        batch=note.batch,
        steps_per_epoch=note.steps_per_epoch,
        peak_memory_bytes=note.peak_memory_bytes,
        memory_limit_bytes=note.memory_limit_bytes,
        largest_batch=note.largest_batch,
        seconds_per_step=note.seconds_per_step,
        seconds_per_epoch=note.seconds_per_step * note.steps_per_epoch,
    )
    return _stamped(JobEvent(preflight=reported), clock)


def samples_event(note: SamplesNote, *, clock: Clock = utc_now) -> JobEvent:
    """What the model sees in some images."""
    samples = [
        SamplePrediction(
            asset=one.asset,
            digest=one.digest,
            file_name=one.file_name,
            width=one.width,
            height=one.height,
            shapes=[_shape(shape, one) for shape in one.shapes],
        )
        for one in note.samples
    ]
    return _stamped(JobEvent(samples=SamplesPredicted(epoch=note.epoch, samples=samples)), clock)


def _shape(note: ShapeNote, sample: SampleNote) -> Shape:
    geometry: Geometry = Tag()
    if note.box is not None:
        geometry = Box(*note.box)
    elif note.mask:
        geometry = Mask(sample.width, sample.height, note.mask.encode("ascii"))
    return found_message(Found(note.label, note.confidence, geometry))


def log_event(note: LogNote, *, source: str = "trainer", clock: Clock = utc_now) -> JobEvent:
    """A line of the log."""
    line = LogLine(level=_level(note.level), source=source, message=note.message[:MAX_LINE])
    return _stamped(JobEvent(log=line), clock)


def checkpoint_event(saved: CheckpointSaved, *, clock: Clock = utc_now) -> JobEvent:
    """A checkpoint is complete."""
    return _stamped(JobEvent(checkpoint=saved), clock)


def system_event(load: SystemReported, *, clock: Clock = utc_now) -> JobEvent:
    """The machine's load."""
    return _stamped(JobEvent(system=load), clock)


def _stamped(event: JobEvent, clock: Clock) -> JobEvent:
    event.time.FromDatetime(clock())
    return event


def _level(level: int) -> LogLine.Level.ValueType:
    if level >= logging.ERROR:
        return LogLine.LEVEL_ERROR
    if level >= logging.WARNING:
        return LogLine.LEVEL_WARNING
    return LogLine.LEVEL_INFO if level >= logging.INFO else LogLine.LEVEL_DEBUG
