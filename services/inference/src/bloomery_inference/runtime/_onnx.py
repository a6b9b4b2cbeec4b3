"""ONNX Runtime inside this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    NotLoaded,
    Tensors,
)

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

INPUT = "images"


class OnnxRuntime:
    """Sessions on the CPU with `threads` threads each; a run blocks one thread of the default executor."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name not in self._sessions:
            async with files.directory() as directory:
                self._sessions[name] = await asyncio.to_thread(_open, name, directory, self._threads)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        session = self._sessions.get(name)
        if session is None:
            raise NotLoaded(name)
        outputs = [output.name for output in session.get_outputs()]
        arrays = await asyncio.to_thread(_run, name, session, outputs, images)
        return dict(zip(outputs, arrays, strict=True))

    async def unload(self, name: str) -> None:
        """See ModelRuntime."""
        self._sessions.pop(name, None)

    async def loaded(self) -> frozenset[str]:
        """See ModelRuntime."""
        return frozenset(self._sessions)

    async def close(self) -> None:
        """See ModelRuntime."""
        self._sessions.clear()


def _open(name: str, directory: Path, threads: int) -> onnxruntime.InferenceSession:
    # Half of the server's idle memory would be this library; most servers start without a prediction.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Workers that sleep at once are woken hundreds of times in a run; those that spin for long take the cores from the
    # event loop and, where more threads run than there are cores, from each other.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    try:
        return onnxruntime.InferenceSession(directory / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's exceptions share no base class.
        raise ModelLoadError(name, str(error)) from error


def _run(
    name: str, session: onnxruntime.InferenceSession, outputs: list[str], images: NDArray[np.uint8]
) -> list[NDArray[np.float32]]:
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    try:
        arrays: list[NDArray[np.float32]] = session.run(outputs, {INPUT: images})
    except InvalidArgument as error:
        raise InputRefused(name, str(error)) from error
    except Exception as error:
        raise ModelFailed(name, str(error)) from error
    return arrays
