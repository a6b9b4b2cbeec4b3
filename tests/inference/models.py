"""Small real ONNX models with known answers, as the model directories that an export makes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, helper, numpy_helper


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
