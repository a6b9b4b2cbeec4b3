"""What runs models of each runtime, with nothing but that loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bloomery_vision.forms import FORMS, ONNX_RUNTIME, OPENVINO, OPENVINO_OPTIONS, TENSORRT

if TYPE_CHECKING:
    from bloomery_worker.predictor import Images, Outputs, Predictor


class Runner(Protocol):
    """A model that is loaded.

    Attributes:
        output_names: of its outputs, in their order.
    """

    output_names: tuple[str, ...]

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs."""
        ...


class OpenRunner(Protocol):
    """Loads a model."""

    def __call__(self, path: Path, *, threads: int) -> Runner:
        """The model in the file `path`, which computes with so many threads."""
        ...


class OpenModel(Protocol):
    """Loads a model of any kind."""

    def __call__(self, path: Path, *, threads: int) -> Predictor:
        """The model in the file `path`, which computes with so many threads."""
        ...


class OnnxRunner:
    """A model in ONNX Runtime on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # As where the model is served, so that what is measured here holds there.
        options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self.output_names = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs."""
        return tuple(self._session.run(None, {self._input: images}))


class OpenVinoRunner:
    """A model in OpenVINO on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        import openvino

        compiled = openvino.Core().compile_model(path, "CPU", {**OPENVINO_OPTIONS, "INFERENCE_NUM_THREADS": threads})
        self._request = compiled.create_infer_request()
        self.output_names = tuple(output.any_name for output in compiled.outputs)

    def __call__(self, images: Images) -> Outputs:
        """The raw outputs."""
        return tuple(self._request.infer([images]).values())


def _engine(path: Path, *, threads: int) -> Runner:
    """A TensorRT engine on the GPU."""
    from bloomery_worker.engines import EngineRunner

    return EngineRunner(path, threads=threads)


RUNNERS: Mapping[str, OpenRunner] = {ONNX_RUNTIME: OnnxRunner, OPENVINO: OpenVinoRunner, TENSORRT: _engine}
"""By the name of the runtime."""


def opener(runtime: str) -> OpenModel:
    """What loads a model: of one of the `RUNNERS`, or `module:function` of a recipe for the files of its library."""
    if runtime in RUNNERS:
        return RUNNERS[runtime]
    module, _, name = runtime.partition(":")
    found: OpenModel = getattr(import_module(module), name)
    return found


def runnable() -> Sequence[str]:
    """Ids of the forms whose runtime is installed here; those for GPUs need one as well."""
    return [form.id for form in FORMS.values() if form.runtime in RUNNERS and find_spec(form.runtime)]
