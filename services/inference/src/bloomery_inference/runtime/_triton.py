"""A Triton server under explicit model control."""

from __future__ import annotations

import asyncio
import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bloomery_inference.files import remove
from bloomery_inference.runtime._onnx import INPUT
from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    NotLoaded,
    Run,
    Tensors,
)
from bloomery_kit.errors import BloomeryError, Unavailable
from bloomery_kit.names import new_uid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that is started again is asked again within seconds.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_ANSWER_SECONDS = 10.0
_LOAD_SECONDS = 600.0
"""Large models take minutes; one that hangs must not hold up the others for ever."""
_UNLOAD_SECONDS = 120.0
"""An unload answers what waits first."""
_AWAY = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED"})


class TritonClient:
    """Asks the Triton server at `target` (`host:port` of its gRPC endpoint) for at most `patience` seconds a call."""

    def __init__(self, target: str, *, patience: float | None = None) -> None:
        import tritonclient.grpc.aio as triton

        self._triton = triton
        self._client = triton.InferenceServerClient(target, channel_args=_CHANNEL)
        self._patience = patience

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        tensor = self._triton.InferInput(INPUT, list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        try:
            result = await self._client.infer(name, [tensor], client_timeout=self._patience)
        except self._triton.InferenceServerException as error:
            raise _refusal(name, str(error.status()), str(error.message())) from error
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    def runner(self, name: str, together: int) -> Run | None:  # noqa: ARG002 - it runs elsewhere
        """See ModelRuntime."""
        return None

    async def close(self) -> None:
        """See ModelRuntime. The models stay: the server is not ours."""
        await self._client.close()


class TritonRuntime(TritonClient):
    """Models in the repository folder of the Triton server at `target` (`host:port` of its gRPC endpoint)."""

    formats = frozenset({"onnx"})

    def __init__(self, target: str, repository: Path, *, load_timeout: float = _LOAD_SECONDS) -> None:
        super().__init__(target)
        self._repository = repository
        self._load_timeout = load_timeout

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name in await self.loaded():
            return
        async with files.directory() as directory:
            try:
                await self._load(name, directory)
            except ModelLoadError:
                # Another replica that unloaded it at this moment may have taken the files away.
                await self._load(name, directory)

    async def _load(self, name: str, directory: Path) -> None:
        target = self._repository / name
        placed = await asyncio.to_thread(_place, directory, target)
        try:
            await self._client.load_model(name, client_timeout=self._load_timeout)
        except self._triton.InferenceServerException as error:
            if error.status() == "StatusCode.DEADLINE_EXCEEDED":
                # Its files stay: the server may be at it still.
                message = f"the Triton server has not loaded it within {self._load_timeout:g} s"
                raise Unavailable("TRITON_UNAVAILABLE", message) from error
            if error.status() in _AWAY:
                raise _unreachable() from error
            await asyncio.to_thread(_remove_own, target, placed)
            raise ModelLoadError(name, str(error.message())) from error

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        folder = self._repository / name
        placed = await asyncio.to_thread(_placed, folder)
        if name in await self.loaded():
            try:
                await self._client.unload_model(name, client_timeout=_UNLOAD_SECONDS)
            except self._triton.InferenceServerException as error:
                raise _refusal(name, str(error.status()), str(error.message())) from error
        await asyncio.to_thread(_remove_own, folder, placed)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        try:
            index: Any = await self._client.get_model_repository_index(client_timeout=_ANSWER_SECONDS)
        except self._triton.InferenceServerException as error:
            raise _unreachable() from error
        return frozenset(model.name for model in index.models if model.state == "READY")


def _refusal(name: str, status: str, message: str) -> BloomeryError:
    if status in _AWAY:
        return _unreachable()
    if status == "StatusCode.NOT_FOUND":
        return NotLoaded(name)
    if status == "StatusCode.INVALID_ARGUMENT":
        return InputRefused(name, message)
    return ModelFailed(name, message)


def _place(source: Path, target: Path) -> int:
    """Put whole files in the place of whatever a load that failed has left there; return when, as `_placed` does.

    Files that are whole stay where they are: another replica may be loading them.
    """
    staging = target.with_name(f".{target.name}.{new_uid()}")
    if not _equal(source, target):
        shutil.copytree(source, staging, copy_function=_link)
    if not _equal(source, target):
        remove(target)
        # Where another replica was first, with the same files.
        with suppress(OSError):
            staging.rename(target)
    shutil.rmtree(staging, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.utime(target)
    return _placed(target)


def _link(source: str, target: str) -> None:
    """Let a file have a second name, or a copy where that cannot be, as on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _placed(folder: Path) -> int:
    """When somebody last placed a model, as a number that is only compared; 0 where there is none."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _remove_own(folder: Path, placed: int) -> None:
    """Remove a model unless somebody has placed it anew since `placed`, another replica that is about to load it."""
    if _placed(folder) == placed:
        remove(folder)


def _equal(source: Path, target: Path) -> bool:
    names = [file.relative_to(source) for file in source.rglob("*") if file.is_file()]
    return filecmp.cmpfiles(source, target, list(map(str, names)), shallow=False)[0] == list(map(str, names))


def _unreachable() -> Unavailable:
    return Unavailable("TRITON_UNAVAILABLE", "the Triton server cannot be reached")
