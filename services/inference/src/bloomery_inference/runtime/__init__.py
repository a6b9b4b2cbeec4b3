"""The seam between prediction and what runs a model: ONNX Runtime or OpenVINO in this process, or Triton."""

from bloomery_inference.runtime._factory import open_runtime
from bloomery_inference.runtime._local import LocalRuntime
from bloomery_inference.runtime._protocol import (
    InputRefused,
    ModelFailed,
    ModelFiles,
    ModelLoadError,
    ModelRuntime,
    NotLoaded,
    Run,
    Tensors,
)
from bloomery_inference.runtime._triton import TritonClient, TritonRuntime

__all__ = [
    "InputRefused",
    "LocalRuntime",
    "ModelFailed",
    "ModelFiles",
    "ModelLoadError",
    "ModelRuntime",
    "NotLoaded",
    "Run",
    "Tensors",
    "TritonClient",
    "TritonRuntime",
    "open_runtime",
]
