"""A model in ONNX Runtime."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelLoadError,
    Run,
    Tensors,
)

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

INPUT = "images"
_TWICE_BYTES = 64 << 20
"""Size of the file up to which a model may be in memory twice."""


class OnnxModel:
    """A model in a session with `threads` threads.

    A small one has a second session of one thread, for when every core has a run of its own: threads that help each
    other then take a sixth more of the processor for the same answers.
    """

    def __init__(self, name: str, file: Path, threads: int) -> None:
        self._name = name
        self._threads = threads
        self._alone = _open(name, file, threads)
        has_both = threads > 1 and file.stat().st_size <= _TWICE_BYTES
        self._among_others = _open(name, file, 1) if has_both else self._alone

    def runner(self, together: int) -> Run:
        """What runs it in the calling thread beside so many, with it."""
        return partial(_run, self._name, self._alone if together < self._threads else self._among_others)


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
