"""How far a job is, from what its worker reports. Pure functions."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from bloomery.training.v1 import JobEvent, MetricsReported
from bloomery.training.v1 import Progress as ReportedProgress
from bloomery_trainer.model import Progress

_REMEMBERED = 20
_PHASE = 100
# What a worker does before the work itself.
PREPARATION = frozenset({"", "starting", "preparing", "downloading", "unpacking", "preflight"})
PUBLISHING = "publishing"


def is_work(phase: str, batch: Sequence[JobEvent]) -> bool:
    """Whether a report is one of the work itself."""
    return phase not in PREPARATION or any(event.WhichOneof("event") == "metrics" for event in batch)


def advanced(progress: Progress, phase: str, batch: Sequence[JobEvent]) -> Progress:
    """The progress after a report of bounded events; its estimate is absent until an epoch has been timed."""
    for event in batch:
        match event.WhichOneof("event"):
            case "metrics":
                progress = _measured(progress, event.metrics, event.time.ToNanoseconds() / 1e9)
            case "progress":
                progress = _told(progress, event.progress)
    return _estimated(replace(progress, phase=phase[:_PHASE] or progress.phase))


def tell_watchers(batch: Sequence[JobEvent], after: Progress) -> None:
    """Put what only the whole job tells, the part done and the time left, into the progress that a report holds."""
    for event in batch:
        if event.HasField("progress"):
            event.progress.fraction = after.fraction
            if after.eta_seconds is not None:
                event.progress.eta_seconds = after.eta_seconds


def started(progress: Progress, epoch: int) -> Progress:
    """The progress of a new attempt that goes on after `epoch` epochs."""
    fresh = replace(progress, phase="starting", epoch=epoch, step=0, eta_seconds=None, durations=(), mark=None)
    return replace(fresh, fraction=epoch / progress.epochs if progress.epochs else 0.0)


def _measured(progress: Progress, event: MetricsReported, at: float) -> Progress:
    metrics = {**progress.metrics, **event.values}
    epoch = max(progress.epoch, event.epoch)
    steps = progress.steps
    changed = replace(progress, metrics=metrics, epoch=epoch)
    if steps and not event.epoch_end:
        changed = replace(changed, step=max(0, event.step - epoch * steps))
    if event.epoch_end:
        changed = _closed_epoch(replace(changed, step=0), at)
    elif progress.mark is None:
        changed = replace(changed, mark=at)
    return replace(changed, fraction=max(progress.fraction, _fraction(changed)))


def _closed_epoch(progress: Progress, at: float) -> Progress:
    if progress.mark is None or at <= progress.mark:
        return replace(progress, mark=at)
    durations = (*progress.durations, at - progress.mark)[-_REMEMBERED:]
    return replace(progress, durations=durations, mark=at)


def _told(progress: Progress, event: ReportedProgress) -> Progress:
    return replace(
        progress,
        phase=event.phase[:_PHASE] or progress.phase,
        epochs=max(0, event.epochs) or progress.epochs,
        steps=max(0, event.steps) or progress.steps,
        step=max(0, event.step) or progress.step,
        fraction=max(progress.fraction, min(1.0, event.fraction)),
        device=event.device or progress.device,
        metrics={**progress.metrics, **event.metrics},
    )


def _fraction(progress: Progress) -> float:
    if not progress.epochs:
        return progress.fraction
    inside = min(1.0, progress.step / progress.steps) if progress.steps else 0.0
    return min(1.0, (progress.epoch + inside) / progress.epochs)


def _estimated(progress: Progress) -> Progress:
    left = progress.epochs - progress.epoch
    if not progress.durations or left < 0 or not progress.epochs:
        return replace(progress, eta_seconds=None)
    inside = min(1.0, progress.step / progress.steps) if progress.steps and left else 0.0
    return replace(progress, eta_seconds=max(0.0, (left - inside) * median(progress.durations)))
