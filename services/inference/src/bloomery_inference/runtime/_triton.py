"""A Triton server under explicit model control."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery_inference.runtime._onnx import INPUT
from bloomery_inference.runtime._protocol import ModelLoadError, Tensors
from bloomery_kit.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_UNAVAILABLE = "StatusCode.UNAVAILABLE"


class TritonRuntime:
    """Models in the repository folder of the Triton server at `target` (`host:port` of its gRPC endpoint)."""

    def __init__(self, target: str, repository: Path) -> None:
        import tritonclient.grpc.aio as triton

        self._triton = triton
        self._client = triton.InferenceServerClient(target)
        self._repository = repository

    async def load(self, name: str, directory: Path) -> None:
        """See ModelRuntime."""
        if name in await self.loaded():
            return
        await asyncio.to_thread(_place, directory, self._repository / name)
        try:
            await self._client.load_model(name)
        except self._triton.InferenceServerException as error:
            if error.status() == _UNAVAILABLE:
                raise _unreachable() from error
            raise ModelLoadError(name, str(error.message())) from error

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        tensor = self._triton.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        try:
            result = await self._client.infer(name, [tensor])
        except self._triton.InferenceServerException as error:
            if error.status() == _UNAVAILABLE:
                raise _unreachable() from error
            raise KeyError(name) from error
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        if name in await self.loaded():
            await self._client.unload_model(name)
        await asyncio.to_thread(shutil.rmtree, self._repository / name, ignore_errors=True)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        try:
            index: Any = await self._client.get_model_repository_index()
        except self._triton.InferenceServerException as error:
            raise _unreachable() from error
        return frozenset(model.name for model in index.models if model.state == "READY")

    async def close(self) -> None:
        """See ModelRuntime. The models stay: the server is not ours."""
        await self._client.close()


def _place(source: Path, target: Path) -> None:
    if target.exists():
        return
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    shutil.copytree(source, staging)
    staging.rename(target)


def _unreachable() -> Unavailable:
    return Unavailable("TRITON_UNAVAILABLE", "the Triton server cannot be reached")
