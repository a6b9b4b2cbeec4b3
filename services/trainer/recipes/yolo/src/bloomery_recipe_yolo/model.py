"""A trained YOLO model without its library around it: raw outputs for letterboxed uint8 images, in torch or as ONNX."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bloomery_recipe_yolo.library import load_checkpoint, strip_optimizer
from bloomery_recipe_yolo.lora.spec import ATTRIBUTE
from bloomery_recipe_yolo.pickled import foreign_code
from bloomery_worker import machine
from bloomery_worker.failures import ConfigError, DataError, UnsafeFileError, some
from bloomery_worker.predictor import Images, Outputs

OPSET = 18
_LONGEST = 300
INPUT = "images"


class RawModel(nn.Module):
    """uint8 NHWC in; what the head gives before suppression out. Normalises inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Runs uint8 [B, H, W, 3] RGB; returns float32 [B, 4 + classes, anchors], with masks also the prototypes."""
        outputs = self.model(images.permute(0, 3, 1, 2).float() / 255.0)
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)


class TrainedModel:
    """A checkpoint that is ready to predict.

    Attributes:
        task: "detect", "segment" or "classify"; another one of the library's for a foreign file.
        classes: names in the order of their numbers.
        side: of the square input that it was trained for, in pixels.
        heads: kinds of head that it has, where its architecture knows more than one; the first is the one that answers.
    """

    def __init__(self, path: Path, *, device: str) -> None:
        """Loads it. Raises ConfigError where it is no YOLO checkpoint."""
        model, _ = read_checkpoint(path)
        self.task = str(model.task)
        self.classes = tuple(model.names[number] for number in sorted(model.names))
        self.side = int(model.args["imgsz"])
        two = getattr(model.model[-1], "one2one_cv2", None) is not None
        self.heads = ("one-to-many", "one-to-one") if two else ()
        self._device = device
        self.raw = RawModel(_bare(model)).to(device).eval()

    def __call__(self, images: Images) -> Outputs:
        """Predicts, as a `Predictor`."""
        with torch.inference_mode():
            outputs = self.raw(torch.from_numpy(images).to(self._device))
        return tuple(output.float().cpu().numpy() for output in outputs)

    def export(self, path: Path, size: tuple[int, int], *, outputs: tuple[str, ...]) -> None:
        """Writes an ONNX file whose first axes are the batch; `size` is (height, width)."""
        # Two images: an export with one folds the batch axis into constants.
        sample = torch.zeros((2, *size, 3), dtype=torch.uint8)
        with warnings.catch_warnings():
            # The tracer warns about every shape that it takes for a constant, which they are.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.raw.cpu(),
                (sample,),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (INPUT, *outputs)},
            )
        self.raw.to(self._device)


def open_checkpoint(path: Path, *, threads: int) -> TrainedModel:
    """A checkpoint on the device of this process, which computes with so many threads where that is the processor."""
    torch.set_num_threads(threads)
    return TrainedModel(path, device=machine.device())


def check_task(path: Path, task: str) -> None:
    """Looks whether a checkpoint is one of `task`. Raises ConfigError."""
    found = read_checkpoint(path)[0].task
    if found != task:
        raise ConfigError(f"the base weights are of a model to {found}, not to {task}", hint="choose another base")


def read_checkpoint(path: Path) -> tuple[Any, Mapping[str, Any]]:
    """The model in float32, with its training arguments as `args`, and all that the file holds.

    Raises:
        ConfigError: it is no checkpoint.
        UnsafeFileError: it holds more than data and the known classes.
        DataError: weights are no finite numbers.
    """
    try:
        model, content = load_checkpoint(path)
    except MemoryError:
        raise
    except Exception as problem:  # broken files make the unpickler raise all kinds
        hint = "give a checkpoint that Ultralytics has written"
        if _is_unsafe(problem) and (code := foreign_code(path)):
            message = f"the file is a pickle that names code beyond YOLO's: {some(code)}; nothing of it was run"
            raise UnsafeFileError(message, hint=f"ask where the file is from; {hint}") from problem
        raise ConfigError(f"the file is not a YOLO checkpoint: {_plain(problem, path)}", hint=hint) from problem
    if broken := [name for name, values in model.state_dict().items() if not torch.isfinite(values).all()]:
        hint = "take a checkpoint from before the training went wrong, or train with a smaller learning rate"
        raise DataError("weights are no finite numbers", hint=hint, items=broken)
    return model, content


def _is_unsafe(problem: BaseException | None) -> bool:
    """Whether torch's unpickler, which knows what is safe, is what refused a file."""
    if isinstance(problem, pickle.UnpicklingError) and "weights_only" in str(problem):
        return True
    return problem is not None and _is_unsafe(problem.__cause__ or problem.__context__)


def _plain(problem: Exception, path: Path) -> str:
    """What is wrong with a file on one line, without the library's ornaments and the worker's folders."""
    line = str(problem).partition("\n")[0].replace(str(path), "it").removeprefix("ERROR ❌️ ")
    return f"{line[:_LONGEST]} ({type(problem).__name__})"


def write_published(best: Path, target: Path, classes: Sequence[str]) -> None:
    """Writes a checkpoint of half the size that is enough to predict with: weights and class names, no optimizer.

    Says nothing about when, where and from which checkout it was made.
    """
    content = strip_optimizer(best, str(target))
    write_model(content, target, classes, content["train_args"])


def write_model(
    content: Mapping[str, Any], target: Path, classes: Sequence[str], train_arguments: Mapping[str, Any]
) -> None:
    """Writes the `model` of a checkpoint's content, in halves already, with its class names and training arguments."""
    model, arguments = content["model"], placeless(train_arguments)
    # Classifiers are trained on folders that are named by number.
    model.names = dict(enumerate(classes))
    model.args = arguments
    # An adapter is published apart.
    for own in ("pt_path", ATTRIBUTE):
        vars(model).pop(own, None)
    # The head keeps the grid and the mode of the last batch that it saw, and makes its own for the next.
    for cached in ("anchors", "strides", "shape", "_end2end"):
        vars(model.model[-1]).pop(cached, None)
    kept = {key: content.get(key) for key in _PUBLISHED}
    torch.save({**kept, "train_args": arguments}, target)


_PUBLISHED = ("model", "epoch", "version", "license", "docs")
_WORDS = ("task", "optimizer")


def placeless(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The training arguments without texts, which may be paths."""
    return {key: value for key, value in arguments.items() if key in _WORDS or isinstance(value, int | float)}


def raw_outputs(model: Any, images: Images, *, device: torch.device) -> Outputs:
    """What a model in training puts out for images, as a `Predictor` does; leaves the model as it was."""
    head = model.model[-1]
    before = dict(vars(head))
    try:
        _bare_head(head)
        with torch.no_grad():
            outputs = RawModel(model)(torch.from_numpy(images).to(device))
    finally:
        vars(head).clear()
        vars(head).update(before)
    return tuple(output.float().cpu().numpy() for output in outputs)


def _bare_head(head: Any) -> None:
    """Makes a head return nothing but its predictions."""
    head.export, head.format = True, "onnx"
    if hasattr(head, "end2end"):
        # With suppression outside all models give the same form.
        head.end2end = False


def _bare(model: Any) -> nn.Module:
    """Fused, which drops the branch that is not used, and with a head that returns nothing but its predictions."""
    _bare_head(model.model[-1])
    fused: nn.Module = model.fuse(verbose=False)
    return fused.requires_grad_(False)
