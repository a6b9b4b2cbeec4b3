"""How a training goes, from the parameters of its recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from bloomery_worker.messages import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The parameters of the loop; each field is the id of a recipe's parameter, as `bloomery recipes show` tells them.

    Attributes:
        epochs: how often training goes through all samples.
        patience: epochs without a better measurement that end it; 0 for never.
        best_by: the measurement that chooses the best epoch; empty for the learner's own.
        seed: of everything random.
        batch: samples of a step; 0 for as many as fit into memory.
        accumulate: batches whose gradients make one step of the optimizer.
        optimizer: name of one in `optimizers.OPTIMIZERS`.
        lr0: learning rate after warm-up.
        lrf: learning rate at the end, as a fraction of lr0.
        schedule: "cosine", "linear", "step" or "constant".
        step_epochs: epochs between two falls of the schedule "step".
        step_factor: what the rate is multiplied with at each.
        warmup_epochs: over so many the rate rises from 0.
        momentum: of SGD and RMSprop; beta1 of the Adam family.
        weight_decay: pull of weights, not of biases and norms, towards 0.
        layer_decay: the rate of each layer is that of the one behind it times this.
        clip: largest norm of the gradients; 0 for any.
        ema: decay of the averaged weights, which are what is measured and published; 0 for no average.
        freeze: how many of the first layers stay as they are.
        frozen_epochs: epochs at the beginning in which only the head learns, where the rest has learnt before.
        amp: whether to compute in half precision on a GPU.
        deterministic: whether to use only operations that give the same bits each time.
        workers: processes that load samples, on a GPU.
    """

    epochs: int
    patience: int = 0
    best_by: str = ""
    seed: int = 0
    batch: int = 16
    accumulate: int = 1
    optimizer: str = "AdamW"
    lr0: float = 1e-3
    lrf: float = 0.01
    schedule: str = "cosine"
    step_epochs: int = 10
    step_factor: float = 0.1
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    layer_decay: float = 1.0
    clip: float = 0.0
    ema: float = 0.0
    freeze: int = 0
    frozen_epochs: int = 0
    amp: bool = True
    deterministic: bool = True
    workers: int = 0

    @classmethod
    def of(cls, parameters: Mapping[str, Value]) -> Self:
        """The plan that a job's parameters make; what a recipe does not offer has its default."""
        return cls(**{name: kind(parameters[name]) for name, kind in _kinds().items() if name in parameters})


def _kinds() -> Mapping[str, type]:
    return {field.name: field.type for field in fields(Plan) if isinstance(field.type, type)}
