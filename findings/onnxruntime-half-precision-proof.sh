#!/usr/bin/env bash
# A half-precision model that overflows gives finite answers in ONNX Runtime on a CPU, so a check there proves nothing.
#
# Versions: onnxruntime 1.32.0, onnx 1.23.2, Python 3.11, CPU (x86-64).
# Input:    a float16 graph y = (x * x) * 0.001 with x = 1000. All tensors, the one between included, are float16.
# Expected: infinity, as numpy says and any device that computes in half precision: 1 000 000 is above 65504.
# Seen:     1000. The CPU has no half-precision kernels for most operators: the nodes are surrounded with casts, the
#           casts between neighbours are removed, and what lies between is float32. With the graph optimisations off the
#           answer is the same. Only where the middle tensor is also an output of the graph is that one infinite, and y
#           still is not.
# Why care: comparing an exported FP16 model with its original on a CPU passes, and on a GPU it answers NaN or nothing.
# Instead:  look for large values in the float32 model (its inner tensors as outputs, on real pictures) before
#           converting, or compare on the device that serves.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile onnxruntime==1.32.0 onnx==1.23.2
venv/bin/python - <<'PY'
import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper


def outputs(names: list[str], *, optimised: bool) -> list[float]:
    half = TensorProto.FLOAT16
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "x"], ["square"]), helper.make_node("Mul", ["square", "scale"], ["y"])],
        "overflow",
        [helper.make_tensor_value_info("x", half, [1])],
        [helper.make_tensor_value_info(name, half, [1]) for name in names],
        [numpy_helper.from_array(np.array([0.001], np.float16), "scale")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [float(one[0]) for one in session.run(None, {"x": np.array([1000], np.float16)})]


with np.errstate(over="ignore"):
    print("numpy, float16:", np.float16(1000) * np.float16(1000) * np.float16(0.001))
alone = [outputs(["y"], optimised=one)[0] for one in (True, False)]
both = outputs(["square", "y"], optimised=True)
print(f"onnxruntime: y {alone[0]}, without optimisations {alone[1]}; with the middle tensor as an output: {both}")
if not (np.allclose(alone, 1000, rtol=0.01) and np.isinf(both[0]) and np.isfinite(both[1])):
    raise SystemExit("this is not what the header says")
PY
