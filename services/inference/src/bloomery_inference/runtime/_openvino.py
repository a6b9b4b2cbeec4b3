"""OpenVINO inside this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    NotLoaded,
    Run,
    Tensors,
)
from bloomery_vision.forms import OPENVINO_FILE, OPENVINO_OPTIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OpenVinoRuntime:
    """Models on the CPU with `threads` threads each; a run blocks one thread of the default executor."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._models: dict[str, _Model] = {}

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name not in self._models:
            async with files.directory() as directory:
                path = directory / "1" / OPENVINO_FILE
                self._models[name] = await asyncio.to_thread(_Model, name, path, self._threads)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        run = self.runner(name, together=1)
        if run is None:
            raise NotLoaded(name)
        return await asyncio.to_thread(run, images)

    def runner(self, name: str, together: int) -> Run | None:  # noqa: ARG002 - it divides its threads itself
        """See ModelRuntime."""
        model = self._models.get(name)
        return model.run if model else None

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        self._models.pop(name, None)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        return frozenset(self._models)

    async def close(self) -> None:
        """See ModelRuntime."""
        self._models.clear()


class _Model:
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

    def run(self, images: NDArray[np.uint8]) -> Tensors:
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
