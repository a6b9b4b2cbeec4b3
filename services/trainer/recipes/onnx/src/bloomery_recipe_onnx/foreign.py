"""A model as it came, run on images: bytes are brought into the form that it takes, outside of its graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bloomery_worker.predictor import Images, Outputs

NCHW, NHWC = "nchw", "nhwc"


@dataclass(frozen=True, slots=True)
class Scale:
    """What becomes of a value of 0 to 255: value / divisor, then (value - mean) / deviation for red, green and blue."""

    divisor: float = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def is_centred(self) -> bool:
        """Whether mean and deviation change anything."""
        return self != Scale(self.divisor)


SCALES: Mapping[str, Scale] = {
    "1/255": Scale(),
    # Means and deviations of ImageNet's training images, as torchvision and timm have them.
    "imagenet": Scale(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)),
    "-1..1": Scale(mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
    "none": Scale(divisor=1.0),
}
"""By the values of the parameter `scale`."""


@dataclass(frozen=True, slots=True)
class InputForm:
    """How a model takes images.

    Attributes:
        name: of its input.
        data_type: "uint8" or "float32".
        layout: NCHW or NHWC.
        size: (height, width) in pixels.
        scale: what becomes of a pixel's value; None for bytes.
        batch: the number of images that it takes at once; None for any.
    """

    name: str
    data_type: str
    layout: str
    size: tuple[int, int]
    scale: Scale | None
    batch: int | None

    def prepared(self, images: Images) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Images [B, H, W, 3] as the model takes them."""
        ordered = np.ascontiguousarray(images.transpose(0, 3, 1, 2) if self.layout == NCHW else images)
        if self.scale is None:
            return ordered
        values = ordered.astype(np.float32) / np.float32(self.scale.divisor)
        if self.scale.is_centred:
            axes = (1, 3, 1, 1) if self.layout == NCHW else (1, 1, 1, 3)
            mean, deviation = (
                np.array(one, np.float32).reshape(axes) for one in (self.scale.mean, self.scale.deviation)
            )
            values = (values - mean) / deviation
        return values


class ForeignModel:
    """The model as it came, in ONNX Runtime: the original that its wrapped form is compared with."""

    def __init__(self, path: Path, form: InputForm, outputs: tuple[str, ...], *, threads: int) -> None:
        """Loads it, to give the `outputs` of these names."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._form, self._outputs = form, outputs

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs for uint8 images [B, H, W, 3], a fixed number at a time where the model takes no other."""
        values = self._form.prepared(images)
        step = self._form.batch or len(values)
        parts = [self._run(values[start : start + step], step) for start in range(0, len(values), step)]
        return tuple(np.concatenate(one)[: len(values)] for one in zip(*parts, strict=True))

    def _run(self, values: NDArray[np.uint8] | NDArray[np.float32], step: int) -> list[NDArray[np.float32]]:
        missing = step - len(values)
        filled = np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values
        found = self._session.run(list(self._outputs), {self._form.name: filled})
        return [np.asarray(one, dtype=np.float32) for one in found]
