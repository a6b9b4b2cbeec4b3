#!/usr/bin/env bash
# onnxruntime's float16 converter writes models that are no valid ONNX: casts behind their readers, and one name twice.
#
# Versions: onnxruntime 1.31.1, onnx 1.23.2, Python 3.11.
# Input:    a convolution whose output two nodes read that are to stay in single precision (node_block_list).
# Expected: a graph that onnx.checker takes, as the one given.
# Seen:     the casts stand at the end of the graph, behind the nodes that read them; once they are sorted, the cast of
#           the tensor that both read is there twice under one name.
# Why care: ONNX Runtime loads such a file all the same, so nobody notices; the checker and other parsers refuse it.
# Instead:  drop casts whose output another one gives already, then OnnxModel(model).topological_sort().
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile onnxruntime==1.31.1 onnx==1.23.2
venv/bin/python - <<'PY'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel


def told(model):
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        return " ".join(str(error).split())
    return "valid"


def value(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, 2])


nodes = [
    helper.make_node("Conv", ["x", "w"], ["y"], "conv"),
    helper.make_node("Sigmoid", ["y"], ["a"], "one"),
    helper.make_node("Exp", ["y"], ["b"], "two"),
    helper.make_node("Add", ["a", "b"], ["z"], "sum"),
]
weights = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
graph = helper.make_graph(nodes, "g", [value("x")], [value("z")], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
print("given:    ", told(model))
half = convert_float_to_float16(model, keep_io_types=True, node_block_list=["one", "two"])
converted = told(half)
print("converted:", converted)
sorted_ = OnnxModel(half)
sorted_.topological_sort()
print("sorted:   ", told(sorted_.model))
seen, repeated = set(), []
for node in half.graph.node:
    repeated += [name for name in node.output if name in seen]
    seen |= set(node.output)
print("given twice:", repeated)
assert told(model) == "valid"
assert "topologically sorted" in converted
assert repeated == ["y_cast_to_fp32"]
PY
