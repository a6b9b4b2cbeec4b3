"""Small real ONNX models with known answers, as the model directories that an export makes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Folder:
    """The files of a model that lie in a folder."""

    path: Path

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[Path]:
        yield self.path


CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
input [{{ name: "images" data_type: TYPE_UINT8 dims: [{side}, {side}, 3] }}]
output [{{ name: "output0" data_type: TYPE_FP32 dims: [{dims}] }}]
"""


def write_model(directory: Path, answer: NDArray[np.float32], *, side: int) -> Path:
    """A model of uint8 [N, side, side, 3] images whose `output0` is [N, *answer.shape].

    It is `answer` scaled by an image's brightest value over 255: a black image gives zeros, so that the input matters.
    """
    brightest = helper.make_node("ReduceMax", ["as_float", "axes"], ["peak"], keepdims=0)
    shape = numpy_helper.from_array(np.array([-1, *[1] * answer.ndim], dtype=np.int64), "shape")
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["as_float"], to=TensorProto.FLOAT),
            brightest,
            helper.make_node("Reshape", ["peak", "shape"], ["scale"]),
            helper.make_node("Mul", ["scale", "answer"], ["output0"]),
        ],
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", *answer.shape])],
        [
            numpy_helper.from_array(np.array([1, 2, 3], dtype=np.int64), "axes"),
            shape,
            numpy_helper.from_array(answer / np.float32(255), "answer"),
        ],
    )
    return _write(directory, graph, side=side, dims=answer.shape)


def write_finder(directory: Path, *, side: int, masks: bool = False) -> Path:
    """A model that sees one "dog" of score 0.8 around all that is white, with `masks` also which pixels these are.

    So what it answers depends on the part of an image that it sees.
    """
    nodes = [
        helper.make_node("Cast", ["images"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Greater", ["values", "threshold"], ["above"]),
        helper.make_node("Cast", ["above"], ["colours"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMin", ["colours", "last"], ["white"], keepdims=0),
        *_extent("x", "rows"),
        *_extent("y", "columns"),
        helper.make_node("Mul", ["x_any", "score"], ["seen"]),
        helper.make_node("Mul", ["x_any", "zero"], ["unseen"]),
    ]
    parts = ["x_middle", "y_middle", "x_size", "y_size", "unseen", "seen", *(["x_any"] if masks else [])]
    nodes += [
        helper.make_node("Concat", parts, ["flat"], axis=1),
        helper.make_node("Unsqueeze", ["flat", "last_of_two"], ["output0"]),
    ]
    count = len(parts)
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", count, 1])]
    if masks:
        nodes += [
            helper.make_node("Sub", ["white", "half"], ["centred"]),
            helper.make_node("Unsqueeze", ["centred", "rows"], ["fine"]),
            helper.make_node("AveragePool", ["fine"], ["output1"], kernel_shape=[4, 4], strides=[4, 4]),
        ]
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, ["n", 1, side // 4, side // 4]))
    graph = helper.make_graph(
        nodes,
        "finder",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        outputs,
        [
            numpy_helper.from_array(np.array(200, dtype=np.float32), "threshold"),
            numpy_helper.from_array(np.array([3], dtype=np.int64), "last"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "rows"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "columns"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "positions_axis"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last_of_two"),
            numpy_helper.from_array(np.arange(1, side + 1, dtype=np.float32), "ahead"),
            numpy_helper.from_array(np.arange(side, 0, -1, dtype=np.float32), "back"),
            numpy_helper.from_array(np.array(side, dtype=np.float32), "side"),
            numpy_helper.from_array(np.array(0.5, dtype=np.float32), "half"),
            numpy_helper.from_array(np.array(0.8, dtype=np.float32), "score"),
            numpy_helper.from_array(np.array(0, dtype=np.float32), "zero"),
        ],
    )
    return _write(directory, graph, side=side, dims=(count, 1))


def _extent(axis: str, over: str) -> list[NodeProto]:
    """Middle and size of what is white along an axis: [N, 1] each; `over` names the axis that is reduced."""
    return [
        helper.make_node("ReduceMax", ["white", over], [f"{axis}_line"], keepdims=0),
        helper.make_node("ReduceMax", [f"{axis}_line", "positions_axis"], [f"{axis}_any"], keepdims=1),
        helper.make_node("Mul", [f"{axis}_line", "ahead"], [f"{axis}_ahead"]),
        helper.make_node("ReduceMax", [f"{axis}_ahead", "positions_axis"], [f"{axis}_end"], keepdims=1),
        helper.make_node("Mul", [f"{axis}_line", "back"], [f"{axis}_back"]),
        helper.make_node("ReduceMax", [f"{axis}_back", "positions_axis"], [f"{axis}_rest"], keepdims=1),
        helper.make_node("Sub", ["side", f"{axis}_rest"], [f"{axis}_start"]),
        helper.make_node("Sub", [f"{axis}_end", f"{axis}_start"], [f"{axis}_size"]),
        helper.make_node("Add", [f"{axis}_start", f"{axis}_end"], [f"{axis}_both"]),
        helper.make_node("Mul", [f"{axis}_both", "half"], [f"{axis}_middle"]),
    ]


def write_failing_model(directory: Path, *, side: int) -> Path:
    """A model that loads, and fails when it runs: it looks for more elements than an image has."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["as_float", "shape"], ["output0"]),
        ],
        "failing",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 6, 7])],
        [numpy_helper.from_array(np.array([-1, 6, 7], dtype=np.int64), "shape")],
    )
    return _write(directory, graph, side=side, dims=(6, 7))


def to_openvino(directory: Path) -> None:
    """Let a model be one for OpenVINO."""
    import openvino

    source = directory / "1" / "model.onnx"
    openvino.save_model(openvino.Core().read_model(source), source.with_suffix(".xml"), compress_to_fp16=False)
    source.unlink()


def one_box(center_x: float, center_y: float, width: float, height: float, scores: list[float]) -> NDArray[np.float32]:
    """The output [4 + C, 2] of a detector that sees one box, and an anchor that sees nothing."""
    seen = [center_x, center_y, width, height, *scores]
    return np.array([[value, 0] for value in seen], dtype=np.float32)


def _write(directory: Path, graph: GraphProto, *, side: int, dims: tuple[int, ...]) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (directory / "1").mkdir(parents=True)
    onnx.save(model, directory / "1" / "model.onnx")
    (directory / "config.pbtxt").write_text(CONFIG.format(side=side, dims=", ".join(map(str, dims))))
    return directory
