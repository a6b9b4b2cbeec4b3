#!/usr/bin/env bash
# A detector quantised with ONNX Runtime's defaults finds nothing: all of its scores become 0.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, Python 3.11, CPU.
# Input:    the end of a detector: boxes in pixels (0 to 640) and scores (a sigmoid, 0 to 1) are joined by Concat to one
#           output, as Ultralytics' and other exports do. `quantize_static` with the defaults, calibrated on the very
#           values that are asked for afterwards.
# Expected: scores off by about 1/256 of their range.
# Seen:     all scores are 0, the boxes are off by about a pixel. Concat gets one scale for the whole tensor, 640 / 255,
#           and half a step is above every score. The only warning, to pre-process the model first, is about something
#           else.
# Instead:  leave the nodes behind the last convolutions out (`nodes_to_exclude`), or give boxes and scores as two
#           outputs.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile onnxruntime==1.32.0 onnx==1.23.2 sympy==1.14.0
venv/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

PLACES = 100
random = np.random.default_rng(0)
feed = {
    "distances": random.random((1, 4, PLACES), np.float32) * 640,
    "logits": random.normal(0, 2, (1, 3, PLACES)).astype(np.float32),
}


class Values(CalibrationDataReader):
    def __init__(self) -> None:
        self._left = [feed]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


graph = helper.make_graph(
    [
        helper.make_node("Sigmoid", ["logits"], ["scores"], "sigmoid"),
        helper.make_node("Concat", ["distances", "scores"], ["output"], "join", axis=1),
    ],
    "head",
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in feed.items()],
    [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 7, PLACES])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "head.onnx")
quantize_static("head.onnx", "int8.onnx", Values())
quantize_static("head.onnx", "kept.onnx", Values(), nodes_to_exclude=["sigmoid", "join"])


def largest(file: str) -> tuple[float, float]:
    """The greatest score, and how far the boxes are off at most."""
    (output,) = ort.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, feed)
    return float(output[:, 4:].max()), float(abs(output[:, :4] - feed["distances"]).max())


seen = {file: largest(file) for file in ("head.onnx", "int8.onnx", "kept.onnx")}
for file, (score, off) in seen.items():
    print(f"{file}: greatest score {score:.3f}, boxes off by at most {off:.2f} pixels")
if not (seen["head.onnx"][0] > 0.9 and seen["int8.onnx"][0] == 0 and 0.5 < seen["int8.onnx"][1] < 2):
    raise SystemExit("this is not what the header says")
PY
