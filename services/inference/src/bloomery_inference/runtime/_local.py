"""Models inside this process, each in the library of its format."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery_inference.runtime._onnx import OnnxModel
from bloomery_inference.runtime._openvino import OpenVinoModel
from bloomery_inference.runtime._protocol import ModelFiles, NotLoaded, Run, Tensors
from bloomery_vision.forms import ONNX_FILE, OPENVINO_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LocalRuntime:
    """Models on the CPU with `threads` threads each: in ONNX Runtime, and in OpenVINO where its package is installed.

    A run blocks one thread of the default executor.
    """

    formats = frozenset({"onnx", "openvino"} if find_spec("openvino") else {"onnx"})

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._models: dict[str, OnnxModel | OpenVinoModel] = {}

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name not in self._models:
            async with files.directory() as directory:
                self._models[name] = await asyncio.to_thread(_opened, name, directory / "1", self._threads)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        run = self.runner(name, together=1)
        if run is None:
            raise NotLoaded(name)
        return await asyncio.to_thread(run, images)

    def runner(self, name: str, together: int) -> Run | None:
        """See ModelRuntime."""
        model = self._models.get(name)
        return model.runner(together) if model else None

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        self._models.pop(name, None)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        return frozenset(self._models)

    async def close(self) -> None:
        """See ModelRuntime."""
        self._models.clear()


def _opened(name: str, folder: Path, threads: int) -> OnnxModel | OpenVinoModel:
    if (folder / OPENVINO_FILE).exists():
        return OpenVinoModel(name, folder / OPENVINO_FILE, threads)
    return OnnxModel(name, folder / ONNX_FILE, threads)
