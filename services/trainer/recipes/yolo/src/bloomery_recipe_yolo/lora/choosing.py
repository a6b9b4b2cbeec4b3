"""What is trained, an adapter or all weights: as the job says, or as short trainings of both make it seem better."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from bloomery_recipe_yolo.lora.spec import AUTO, FULL, RANK, RATE_FACTOR, Spec, method_of
from bloomery_worker import machine
from bloomery_worker.context import Context
from bloomery_worker.messages import MetricsNote, ProgressNote

FILE = "choice.json"
"""In each checkpoint, so that a job goes on with what was chosen once."""

METRICS = {"detect": "val/map50", "segment": "val/mask_map50", "classify": "val/accuracy"}
"""What short trainings are compared by."""

LOSS = 0.01
"""An adapter that is behind by more loses accuracy."""

_FEW_IMAGES, _MANY_IMAGES = 50, 1000
_MANY_STEPS = 500
_LONG_FACTOR = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Short trainings side by side.

    Attributes:
        metric: that they are compared by, the best of any epoch of each.
        epochs: of each.
        adapter: of the one with the adapter.
        full: of the one of all weights.
    """

    metric: str
    epochs: int
    adapter: float
    full: float

    def __str__(self) -> str:
        epochs = f"{self.epochs} epoch{'s' * (self.epochs > 1)}"
        return f"after {epochs} {self.metric} is {self.adapter:.4f} with an adapter, {self.full:.4f} with all weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a job trains.

    Attributes:
        spec: the adapter; None for all weights.
        rate: learning rate after warm-up.
        method: the job's.
        control: what it was chosen by; None where nothing was compared.
    """

    spec: Spec | None
    rate: float
    method: str
    control: Control | None = None

    @property
    def is_asked(self) -> bool:
        """Whether an adapter was thought of at all."""
        return self.method != FULL

    def write(self, folder: Path) -> None:
        """Puts it into a checkpoint."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a checkpoint."""
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return cls(
            spec=said["spec"] and Spec(**said["spec"]),
            rate=said["rate"],
            method=said["method"],
            control=said["control"] and Control(**said["control"]),
        )


Short = Callable[[Choice, int], float]
"""Trains for so many epochs, keeps nothing, and returns the best of the metric."""


def full(context: Context) -> Choice:
    """All weights, at the job's learning rate."""
    return Choice(spec=None, rate=float(context.parameters["lr0"]), method=method_of(context.parameters))


def planned(context: Context) -> Choice:
    """The adapter that a job asks for; what the method auto is left to find goes by the size of the data."""
    given = context.parameters
    method, rank, factor = method_of(given), RANK, RATE_FACTOR
    if method == AUTO:
        images = context.dataset.counts["train"]
        steps = -(-images // int(given["batch"])) * int(given["epochs"])
        rank = RANK // 2 if images < _FEW_IMAGES else RANK * 2 if images > _MANY_IMAGES else RANK
        factor = _LONG_FACTOR if steps > _MANY_STEPS else RATE_FACTOR
    rate = float(given.get("lora_lr0", factor * float(given["lr0"])))
    return Choice(spec=Spec.of(given, rank=rank), rate=rate, method=method)


def choose(context: Context, short: Short) -> Choice:
    """What the job trains: read from its checkpoint, or found out now."""
    method, resumed = method_of(context.parameters), context.job.resume_dir
    if method == FULL:
        return full(context)
    if resumed:
        return Choice.read(Path(resumed))
    wish = planned(context)
    epochs = control_epochs(context)
    if not epochs:
        return wish
    control = Control(
        metric=METRICS[context.job.task],
        epochs=epochs,
        adapter=short(wish, epochs),
        full=short(full(context), epochs),
    )
    _tell(context, control)
    taken = full(context) if method == AUTO and control.full > control.adapter else wish
    return replace(taken, control=control)


def control_epochs(context: Context) -> int:
    """Epochs of each of the short trainings; 0 for none."""
    share, epochs = float(context.parameters["lora_control"]), int(context.parameters["epochs"])
    return max(1, round(share * epochs)) if share else 0


def comparing(context: Context, done: int) -> ProgressNote:
    """How far the short trainings are: `done` epochs of both together."""
    return ProgressNote(
        phase="comparing",
        epochs=int(context.parameters["epochs"]),
        step=done,
        steps=2 * control_epochs(context),
        device=machine.device_name(),
    )


def _tell(context: Context, control: Control) -> None:
    values = {"control/adapter": control.adapter, "control/full": control.full}
    context.epoch_end(comparing(context, 2 * control.epochs), MetricsNote(epoch=0, step=0, values=values))
    if method_of(context.parameters) == AUTO:
        better = "all weights are" if control.full > control.adapter else "an adapter is"
        context.log.info("%s trained: %s", better, control)
    elif control.full - control.adapter > LOSS:
        context.log.warning("the adapter seems to cost accuracy: %s; method=full trains all weights", control)
    else:
        context.log.info("the adapter seems to cost no accuracy: %s", control)
