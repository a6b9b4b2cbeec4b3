"""A Triton server under explicit model control."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery_inference.runtime._onnx import INPUT
from bloomery_inference.runtime._protocol import InputRefused, ModelFiles, ModelLoadError, NotLoaded, Tensors
from bloomery_kit.errors import BloomeryError, Internal, Unavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AWAY = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"})


class TritonRuntime:
    """Models in the repository folder of the Triton server at `target` (`host:port` of its gRPC endpoint)."""

    def __init__(self, target: str, repository: Path) -> None:
        import tritonclient.grpc.aio as triton

        self._triton = triton
        self._client = triton.InferenceServerClient(target)
        self._repository = repository

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name in await self.loaded():
            return
        target = self._repository / name
        await asyncio.to_thread(_place, await files.directory(), target)
        try:
            await self._client.load_model(name)
        except self._triton.InferenceServerException as error:
            if error.status() in _AWAY:
                raise _unreachable() from error
            await asyncio.to_thread(shutil.rmtree, target, ignore_errors=True)
            raise ModelLoadError(name, str(error.message())) from error

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        tensor = self._triton.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        try:
            result = await self._client.infer(name, [tensor])
        except self._triton.InferenceServerException as error:
            raise _refusal(name, str(error.status()), str(error.message())) from error
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


def _refusal(name: str, status: str, message: str) -> BloomeryError:
    if status in _AWAY:
        return _unreachable()
    if status == "StatusCode.NOT_FOUND":
        return NotLoaded(name)
    if status == "StatusCode.INVALID_ARGUMENT":
        return InputRefused(name, message)
    return Internal(f"model {name} failed: {message}", reason="MODEL_FAILED")


def _place(source: Path, target: Path) -> None:
    """Put whole files in the place of whatever a load that failed, or somebody else, has left there."""
    shutil.rmtree(target, ignore_errors=True)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    shutil.copytree(source, staging)
    staging.rename(target)


def _unreachable() -> Unavailable:
    return Unavailable("TRITON_UNAVAILABLE", "the Triton server cannot be reached")
