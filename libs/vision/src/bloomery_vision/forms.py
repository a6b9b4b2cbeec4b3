"""The forms in which models are served: the one table of file formats, precisions, runtimes and what they may cost.

Importing it loads nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ONNX_RUNTIME = "onnxruntime"
OPENVINO = "openvino"
TENSORRT = "tensorrt"
CPU = "cpu"
GPU = "cuda"
ONNX_FILE = "model.onnx"
OPENVINO_FILE = "model.xml"
ENGINE_FILE = "model.plan"
OPENVINO_OPTIONS: Mapping[str, str] = {
    # Where the processor knows it, it would compute in bfloat16 otherwise, and boxes would be many pixels off.
    "INFERENCE_PRECISION_HINT": "f32",
    "PERFORMANCE_HINT": "LATENCY",
}
"""How OpenVINO computes, wherever a model is compared, measured or served; without a cache, which goes by paths."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the answers of a form may lie from those of the original.

    Attributes:
        loss: by how much each metric may be lower: mAP50, of boxes and of masks, or accuracy.
        geometry: pixels of the model's input, for any coordinate; None where only the metrics count.
        score: for any score or probability; None where only the metrics count.
    """

    loss: float
    geometry: float | None = None
    score: float | None = None

    def __str__(self) -> str:
        parts = {"geometry": self.geometry, "scores": self.score, "metric": self.loss}
        units = {"geometry": " px"}
        return ", ".join(f"{name} {one:g}{units.get(name, '')}" for name, one in parts.items() if one is not None)


@dataclass(frozen=True, slots=True)
class Form:
    """One form.

    Attributes:
        format: of its file.
        precision: of its numbers, and for INT8 how they were found.
        runtime: what runs it, as Triton calls its backend.
        file: name of the file in `1/` of the model directory.
        limits: of its parity.
        needs: what is needed to make it, for people; empty where every worker can.
        device: that makes and runs it.
    """

    format: str
    precision: str
    runtime: str
    file: str
    limits: Limits
    needs: str = ""
    device: str = CPU

    @property
    def id(self) -> str:
        """The id of the variant."""
        return f"{self.format}-{self.precision}"

    @property
    def is_exact(self) -> bool:
        """Whether it computes the same numbers as the original, and not only about as good answers."""
        return self.limits.geometry is not None


_SAME = Limits(loss=0.005, geometry=0.5, score=0.001)
_HALF = Limits(loss=0.005)
_INT8 = Limits(loss=0.01)
_ENGINE = "a GPU that builds it and will run it, with the package tensorrt beside the worker; ask for it by its name"
_ALL = (
    Form("onnx", "fp32", ONNX_RUNTIME, ONNX_FILE, _SAME),
    Form("onnx", "int8", ONNX_RUNTIME, ONNX_FILE, _INT8),
    Form("onnx", "int8-dynamic", ONNX_RUNTIME, ONNX_FILE, _INT8),
    Form("openvino", "fp32", OPENVINO, OPENVINO_FILE, _SAME),
    Form("openvino", "int8", OPENVINO, OPENVINO_FILE, _INT8),
    Form("tensorrt", "fp16", TENSORRT, ENGINE_FILE, _HALF, _ENGINE, GPU),
    Form("tensorrt", "int8", TENSORRT, ENGINE_FILE, _INT8, _ENGINE, GPU),
)
FORMS: Mapping[str, Form] = {form.id: form for form in _ALL}
"""By id; the first of each format is its default."""


def precisions(format: str) -> tuple[str, ...]:
    """Of a format, the default first; none for a format that is not known."""
    return tuple(form.precision for form in _ALL if form.format == format)


def formats() -> tuple[str, ...]:
    """All of them, the default first."""
    return tuple(dict.fromkeys(form.format for form in _ALL))
