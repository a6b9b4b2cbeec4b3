"""A model in OpenVINO."""

from __future__ import annotations

from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelLoadError,
    Run,
    Tensors,
)
from bloomery_vision.forms import OPENVINO_OPTIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVinoModel:
    """A model with `threads` threads."""

    def __init__(self, name: str, path: Path, threads: int) -> None:
        self._name = name
        try:
            import openvino

            options = {**OPENVINO_OPTIONS, "INFERENCE_NUM_THREADS": threads}
            self.compiled = openvino.Core().compile_model(path, "CPU", options)
        except ImportError as error:
            raise ModelLoadError(name, "the package openvino is not installed beside this service") from error
        except RuntimeError as error:
            raise ModelLoadError(name, str(error)) from error
        self._outputs = [output.any_name for output in self.compiled.outputs]
        self._size = tuple(dim.get_length() for dim in list(self.compiled.input(0).partial_shape)[1:])
        # Each holds the tensors of one run; several threads run at once.
        self._requests: SimpleQueue[Any] = SimpleQueue()

    def runner(self, together: int) -> Run:  # noqa: ARG002 - it divides its threads itself
        """What runs it in the calling thread."""
        return self._run

    def _run(self, images: NDArray[np.uint8]) -> Tensors:
        if images.shape[1:] != self._size:
            raise InputRefused(self._name, f"expected images of {self._size}, not of {images.shape[1:]}")
        try:
            request = self._requests.get_nowait()
        except Empty:
            request = self.compiled.create_infer_request()
        try:
            answers = dict(zip(self._outputs, request.infer([images]).values(), strict=True))
        except RuntimeError as error:
            raise ModelFailed(self._name, str(error)) from error
        finally:
            self._requests.put(request)
        # It reshapes to what fits where the elements do not, and says nothing.
        if wrong := [answer.shape for answer in answers.values() if len(answer) != len(images)]:
            raise ModelFailed(self._name, f"it answers {len(images)} images with outputs of shape {wrong[0]}")
        return answers
