"""An ONNX Runtime backend for Triton's Python backend: what is missing from the wheel that tests run.

It stands in for Triton's own backend of the same name on the CPU, without that backend's tuning parameters.
"""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the version's `model.onnx` (or the name that the configuration gives it)."""
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request of a batch by itself, a failure as that request's error."""
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        """Return the outputs that one request asks for."""
        feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
        wanted = list(request.requested_output_names()) or self.outputs
        try:
            arrays = self.session.run(wanted, feed)
        except Exception as error:  # noqa: BLE001 (whatever ONNX Runtime raises belongs to this request)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(*pair) for pair in zip(wanted, arrays, strict=True)])
