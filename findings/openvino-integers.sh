#!/usr/bin/env bash
# OpenVINO computes int64 in 32 bits, and lets uint8 stop at 0 and 255 where ONNX Runtime goes round.
#
# Versions: openvino 2026.4.1, onnxruntime 1.32.0 for comparison, onnx 1.23.2, Python 3.11, CPU.
# Input:    single ONNX nodes: Add of int64 2**40 and 2; Add of uint8 200 and 100; Sub of uint8 10 and 100.
# Expected: 1099511627778, and 44 and 166 as in ONNX Runtime, numpy and C; or a refusal of int64.
# Seen:     2, 255 and 0. The output tensor still says that it is int64.
# Why care: indices that hold more than one thing (class * stride + place, time stamps, hashes) come out as other valid
#           looking numbers; differences of byte pictures (motion, backgrounds) change between runtimes.
# Instead:  keep integers of a graph below 2**31, and cast bytes to float32 before arithmetic.
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
from onnx import helper, numpy_helper


def both(operator: str, first: np.generic, second: np.generic) -> tuple[int, int, str]:
    """What ONNX Runtime and OpenVINO make of it, and the type that OpenVINO states."""
    kind = helper.np_dtype_to_tensor_dtype(first.dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "c"], ["y"])],
        "integers",
        [helper.make_tensor_value_info("x", kind, [1])],
        [helper.make_tensor_value_info("y", kind, [1])],
        [numpy_helper.from_array(np.array([second]), "c")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "integers.onnx")
    session = ort.InferenceSession("integers.onnx", providers=["CPUExecutionProvider"])
    compiled = ov.Core().compile_model("integers.onnx", "CPU")
    stated = compiled.output(0).element_type.get_type_name()
    values = np.array([first])
    return int(session.run(None, {"x": values})[0][0]), int(compiled(values)[compiled.output(0)][0]), stated


seen = {
    "int64 2**40 + 2": both("Add", np.int64(2**40), np.int64(2)),
    "uint8 200 + 100": both("Add", np.uint8(200), np.uint8(100)),
    "uint8 10 - 100": both("Sub", np.uint8(10), np.uint8(100)),
}
for what, (right, other, stated) in seen.items():
    print(f"{what}: {right} in ONNX Runtime, {other} in OpenVINO (stated type {stated})")
if list(seen.values()) != [(2**40 + 2, 2, "i64"), (44, 255, "u8"), (166, 0, "u8")]:
    raise SystemExit("this is not what the header says")
PY
