"""Models inside this process, each in the runtime of its format."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from bloomery_inference.runtime._onnx import OnnxRuntime
from bloomery_inference.runtime._openvino import OpenVinoRuntime
from bloomery_inference.runtime._protocol import ModelFiles, Run, Tensors
from bloomery_vision.forms import OPENVINO_FILE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LocalRuntime:
    """Models on the CPU with `threads` threads each: ONNX Runtime, and OpenVINO where its package is installed."""

    formats = frozenset({"onnx", "openvino"} if find_spec("openvino") else {"onnx"})

    def __init__(self, threads: int) -> None:
        self._onnx, self._openvino = OnnxRuntime(threads), OpenVinoRuntime(threads)

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name in await self.loaded():
            return
        async with files.directory() as directory:
            is_openvino = (directory / "1" / OPENVINO_FILE).exists()
        await (self._openvino if is_openvino else self._onnx).load(name, files)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        is_openvino = name in await self._openvino.loaded()
        return await (self._openvino if is_openvino else self._onnx).infer(name, images)

    def runner(self, name: str, together: int) -> Run | None:
        """See ModelRuntime."""
        return self._openvino.runner(name, together) or self._onnx.runner(name, together)

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        await self._openvino.unload(name)
        await self._onnx.unload(name)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        return await self._openvino.loaded() | await self._onnx.loaded()

    async def close(self) -> None:
        """See ModelRuntime."""
        await self._openvino.close()
        await self._onnx.close()
