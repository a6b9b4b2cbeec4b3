"""What a recipe on this loop gives, so that its jobs of all kinds are done in the same way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from bloomery_worker.bases import Base
from bloomery_worker.board import Board
from bloomery_worker.context import Context
from bloomery_worker.evaluate import MakeEvaluator, Size
from bloomery_worker.predictor import Images, Outputs, Predictor
from bloomery_worker.samples import Samples
from bloomery_worker.training.learner import Learner


class Model(Predictor, Protocol):
    """A trained model: a predictor that knows what it is.

    Attributes:
        task: "detect", "segment" or "classify".
        classes: names in the order of their numbers.
        size: (height, width) of its input.
        resize: how an image is fitted to it, one of `decoders.RESIZES`.
        decoder: how its outputs are read.
    """

    task: str
    classes: tuple[str, ...]
    size: Size
    resize: str
    decoder: str

    def write_onnx(self, path: Path) -> None:
        """Writes it as ONNX: uint8 [B, H, W, 3] `images` in, raw float32 outputs, whose first axis is the batch."""
        ...


class Trainee(Learner, Protocol):
    """A learner of a family: what it has learnt can be looked at and published.

    Attributes:
        data: for the result's details: how many images of each split were used, and what was left out.
    """

    data: Mapping[str, object]

    def draw(self, board: Board, epoch: int) -> None:
        """Draws what the last `measure` found, see `figures`."""
        ...

    def samples(self, count: int) -> Samples:
        """So many validation images to show."""
        ...

    def predict(self, network: nn.Module, images: Images) -> Outputs:
        """What a network in training puts out for images as the model takes them."""
        ...

    def write(self, weights: Mapping[str, Tensor], target: Path) -> None:
        """Writes weights as a file that `Family.open` reads, and that other trainings can start from."""
        ...

    def publish(self, weights: Mapping[str, Tensor], target: Path) -> Mapping[str, object]:
        """Writes the file of the best weights. Returns what else is to be known of it, for the details."""
        ...


class Family(Protocol):
    """Models of one kind.

    Attributes:
        file_name: of the published file.
        packages: that make them, whose versions are told.
        opener: `module:function` that loads a model in another process, see `runners.opener`.
        evaluator: measures models of its task.
    """

    file_name: str
    packages: tuple[str, ...]
    opener: str
    evaluator: MakeEvaluator

    def base(self, context: Context) -> Base:
        """The base weights that the job names. Raises ConfigError."""
        ...

    def trainee(self, context: Context, base: Base) -> Trainee:
        """A network, from the base weights, and the job's data. Raises ConfigError, DataError."""
        ...

    def open(self, path: Path, *, device: str) -> Model:
        """A published model. Raises ConfigError where the file is none."""
        ...
