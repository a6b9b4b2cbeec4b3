"""Which adapter is trained: the parameters of a job, read and checked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import Value

FULL, LORA, AUTO = "full", "lora", "auto"
PARAMETERS = frozenset({
    "method", "adapter", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "lora_lr0", "lora_control",
})  # fmt: skip
"""Of ours, which the library does not know."""

ATTRIBUTE = "adapter"
"""Of the models in the library's files of a training: they are merged, and carry their adapter as plain tensors."""

RANK = 8
RATE_FACTOR = 10 / 3
"""Learning rate of an adapter against that of a full training: at the same one it learns too little, at seven times it
falls apart (as measured with yolov8n on blood cells)."""


@dataclass(frozen=True, slots=True)
class Spec:
    """An adapter.

    Attributes:
        kind: "lora", "loha" or "lokr".
        rank: of each change of a layer.
        alpha: a change counts `alpha / rank` times.
        dropout: part of the inputs (lora) or of the ranks (loha, lokr) that a step leaves out.
        targets: which layers have one: "all", "pointwise" or "backbone".
    """

    kind: str
    rank: int
    alpha: float
    dropout: float
    targets: str

    @classmethod
    def of(cls, parameters: Mapping[str, Value], *, rank: int = RANK) -> Self:
        """As a job's parameters say; `rank` where they leave it open."""
        rank = int(parameters.get("lora_rank", rank))
        return cls(
            kind=str(parameters["adapter"]),
            rank=rank,
            alpha=float(parameters.get("lora_alpha", 2 * rank)),
            dropout=float(parameters["lora_dropout"]),
            targets=str(parameters["lora_targets"]),
        )

    def record(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)


def method_of(parameters: Mapping[str, Value]) -> str:
    """A job from before there was the parameter trains all weights."""
    return str(parameters.get("method", FULL))


def check(parameters: Mapping[str, Value], *, from_scratch: bool) -> None:
    """Looks whether an adapter can be trained at all.

    Raises:
        ConfigError: names all parameters that contradict it.
    """
    if method_of(parameters) == FULL:
        return
    wrong = []
    if from_scratch:
        wrong.append("base scratch has only random weights, which an adapter would keep")
    if parameters.get("freeze"):
        wrong.append("freeze: all layers of the base stay as they are already")
    if parameters["optimizer"] == "MuSGD":
        wrong.append("optimizer MuSGD makes matrices orthogonal, which those of an adapter must not be")
    if method_of(parameters) == AUTO and not parameters["lora_control"]:
        wrong.append("lora_control 0: method auto compares")
    if wrong:
        hint = "mend these, or choose the method full"
        raise ConfigError(f"an adapter cannot be trained like this: {'; '.join(wrong)}", hint=hint)
