"""The seam between prediction and what runs a model: ONNX Runtime in this process, or Triton."""

from bloomery_inference.runtime._onnx import OnnxRuntime
from bloomery_inference.runtime._protocol import ModelLoadError, ModelRuntime, Tensors
from bloomery_inference.runtime._triton import TritonRuntime

__all__ = ["ModelLoadError", "ModelRuntime", "OnnxRuntime", "Tensors", "TritonRuntime"]
