#!/usr/bin/env bash
# OpenVINO drops two attributes of ONNX' Resize, antialias and keep_aspect_ratio_policy, without a word.
#
# Versions: openvino 2026.4.1, onnxruntime 1.32.0 for comparison, onnx 1.23.2, Python 3.11, CPU.
# Input:    opset 18. (1) random 64 x 64 to 16 x 16, linear, antialias 1. (2) 40 x 80 to sizes 32, 32 with the policy
#           not_larger, and not_smaller.
# Expected: the answers of ONNX Runtime, or a refusal while the model is read: an attribute that changes the result is
#           not a hint.
# Seen:     (1) the plain linear resize, which skips three pixels of four: the spread of the noise is 0.14 in place of
#           0.05, single pixels are off by up to 0.34 of 1. (2) 32 x 32 both times, in place of 16 x 32 and 32 x 64:
#           distorted.
# Why care: preprocessing inside of an exported model (torchvision's resize antialiases) works in one runtime and makes
#           shimmering pictures in the other; accuracy falls a little, and nothing says why.
# Instead:  resize outside of the model, or compare the outputs of both runtimes on a real picture after each export.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2
venv/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper


def both(height: int, width: int, to: int, **attributes: object) -> tuple[np.ndarray, np.ndarray]:
    """What ONNX Runtime and OpenVINO make of one random picture."""
    node = helper.make_node("Resize", ["x", "", "", "size"], ["y"], mode="linear", axes=[2, 3], **attributes)
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, None, None])],
        [numpy_helper.from_array(np.array([to, to], np.int64), "size")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "resize.onnx")
    picture = np.random.default_rng(0).random((1, 1, height, width), np.float32)
    session = ort.InferenceSession("resize.onnx", providers=["CPUExecutionProvider"])
    compiled = ov.Core().compile_model("resize.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"x": picture})[0], compiled(picture)[compiled.output(0)]


right, seen = both(64, 64, 16, antialias=1)
_, plain = both(64, 64, 16)
print(f"antialias: spread {right.std():.3f} in ONNX Runtime, {seen.std():.3f} in OpenVINO")
print(f"antialias: off by up to {abs(right - seen).max():.2f}")
print("OpenVINO, the same without antialias: off by", abs(seen - plain).max())
shapes = {}
for policy in ("not_larger", "not_smaller"):
    shapes[policy] = [one.shape[2:] for one in both(40, 80, 32, keep_aspect_ratio_policy=policy)]
    print(f"{policy}: {shapes[policy][0]} in ONNX Runtime, {shapes[policy][1]} in OpenVINO")
expected = {"not_larger": [(16, 32), (32, 32)], "not_smaller": [(32, 64), (32, 32)]}
if not (abs(right - seen).max() > 0.2 and abs(seen - plain).max() < 1e-5 and shapes == expected):
    raise SystemExit("this is not what the header says")
PY
