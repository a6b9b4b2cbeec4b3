"""ONNX Runtime inside this process."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    NotLoaded,
    Run,
    Tensors,
)

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

INPUT = "images"
_FILE = "1/model.onnx"
_TWICE_BYTES = 64 << 20
"""Size of the file up to which a model may be in memory twice."""


class OnnxRuntime:
    """Models on the CPU, each in a session with `threads` threads; a run blocks one thread of the default executor.

    A small one has a second session of one thread, for when every core has a run of its own: threads that help each
    other then take a sixth more of the processor for the same answers.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._models: dict[str, _Model] = {}

    async def load(self, name: str, files: ModelFiles) -> None:
        """See ModelRuntime."""
        if name not in self._models:
            async with files.directory() as directory:
                self._models[name] = await asyncio.to_thread(_Model, name, directory / _FILE, self._threads)

    async def infer(self, name: str, images: NDArray[np.uint8]) -> Tensors:
        """See ModelRuntime."""
        run = self.runner(name, together=1)
        if run is None:
            raise NotLoaded(name)
        return await asyncio.to_thread(run, images)

    def runner(self, name: str, together: int) -> Run | None:
        """See ModelRuntime."""
        model = self._models.get(name)
        if model is None:
            return None
        return partial(_run, name, model.alone if together < self._threads else model.among_others)

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
    def __init__(self, name: str, file: Path, threads: int) -> None:
        self.alone = _open(name, file, threads)
        has_both = threads > 1 and file.stat().st_size <= _TWICE_BYTES
        self.among_others = _open(name, file, 1) if has_both else self.alone


def _open(name: str, file: Path, threads: int) -> onnxruntime.InferenceSession:
    # Half of the server's idle memory would be this library; most servers start without a prediction.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Workers that sleep at once are woken hundreds of times in a run; those that spin for long take the cores from the
    # event loop and, where more threads run than there are cores, from each other.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # ONNX Runtime's exceptions share no base class.
        raise ModelLoadError(name, str(error)) from error


def _run(name: str, session: onnxruntime.InferenceSession, images: NDArray[np.uint8]) -> Tensors:
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    outputs = [output.name for output in session.get_outputs()]
    try:
        arrays: list[NDArray[np.float32]] = session.run(outputs, {INPUT: images})
    except InvalidArgument as error:
        raise InputRefused(name, str(error)) from error
    except Exception as error:
        raise ModelFailed(name, str(error)) from error
    return dict(zip(outputs, arrays, strict=True))
