"""The seam between prediction and what runs a model: ONNX Runtime in this process, or Triton."""

from bloomery_inference.runtime._factory import open_runtime
from bloomery_inference.runtime._onnx import OnnxRuntime
from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    ModelRuntime,
    NotLoaded,
    Tensors,
)
from bloomery_inference.runtime._triton import TritonRuntime

__all__ = [
    "InputRefused",
    "ModelFailed",
    "ModelFiles",
    "ModelLoadError",
    "ModelRuntime",
    "NotLoaded",
    "OnnxRuntime",
    "Tensors",
    "TritonRuntime",
    "open_runtime",
]
