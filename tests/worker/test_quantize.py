"""Which parts of a graph keep their numbers when a model is brought into 8 bits."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bloomery_worker import engines
from bloomery_worker.engines import cast_first, check_available, halve
from bloomery_worker.failures import ConfigError, ExportError
from bloomery_worker.quantize import kept_nodes, quantize, quantize_weights
from bloomery_worker.runners import OnnxRunner

SIDE = 16


def detector() -> onnx.ModelProto:
    """Two layers and a head of the usual kind: distributions of distances and scores, joined into one output."""
    random = np.random.default_rng(0)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    def conv(name: str, source: str, target: str, weight: str, stride: int = 1) -> onnx.NodeProto:
        return helper.make_node("Conv", [source, weight], [target], name, strides=[stride, stride])

    nodes = [
        helper.make_node("Transpose", ["images"], ["nchw"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["floats"], "to-floats", to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "most"], ["scaled"], "scale"),
        conv("stem", "scaled", "x0", "w-stem", 4),
        helper.make_node("Relu", ["x0"], ["x1"], "relu"),
        conv("body", "x1", "x2", "w-body"),
        helper.make_node("Relu", ["x2"], ["x3"], "act"),
        conv("boxes", "x3", "b0", "w-boxes"),
        conv("scores", "x3", "s0", "w-scores"),
        helper.make_node("Shape", ["x3"], ["size"], "size"),
        helper.make_node("Reshape", ["b0", "to-bins"], ["b1"], "bins"),
        helper.make_node("Transpose", ["b1"], ["b2"], "bins-first", perm=[0, 2, 1, 3]),
        helper.make_node("Softmax", ["b2"], ["b3"], "distribution", axis=1),
        conv("weigh", "b3", "b4", "w-weigh"),
        helper.make_node("Reshape", ["b4", "to-boxes"], ["b5"], "distances"),
        helper.make_node("Mul", ["b5", "stride"], ["b6"], "to-pixels"),
        helper.make_node("Reshape", ["s0", "to-scores"], ["s1"], "flat"),
        helper.make_node("Sigmoid", ["s1"], ["s2"], "probabilities"),
        helper.make_node("Concat", ["b6", "s2"], ["output0"], "join", axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array(255, dtype=np.float32), "most"),
        numpy_helper.from_array(np.array(4, dtype=np.float32), "stride"),
        weights("w-stem", 8, 3, 4, 4),
        weights("w-body", 8, 8, 1, 1),
        weights("w-boxes", 16, 8, 1, 1),
        weights("w-scores", 2, 8, 1, 1),
        numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), "w-weigh"),
        numpy_helper.from_array(np.array([0, 4, 4, 16], dtype=np.int64), "to-bins"),
        numpy_helper.from_array(np.array([0, 4, 16], dtype=np.int64), "to-boxes"),
        numpy_helper.from_array(np.array([0, 2, 16], dtype=np.int64), "to-scores"),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 6, 16])
    graph = helper.make_graph(nodes, "detector", [images], [output], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


PREPARED = {"turn", "to-floats", "scale"}
DECODED = {"bins", "bins-first", "distribution", "weigh", "distances", "to-pixels", "flat", "probabilities", "join"}


def test_what_makes_floats_of_pixels_and_what_decodes_keep_their_numbers() -> None:
    assert set(kept_nodes(detector())) == PREPARED | DECODED


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    onnx.save(detector(), tmp_path / "fp32.onnx")
    return tmp_path / "fp32.onnx"


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)


def test_a_calibrated_model_answers_alike_for_any_batch(fp32: Path, images: np.ndarray) -> None:
    target = fp32.with_name("int8.onnx")
    quantize(fp32, target, iter(images), threads=1)
    original, quantized = OnnxRunner(fp32, threads=1), OnnxRunner(target, threads=1)
    for batch in (images, images[:1], images[:3]):
        [before], [after] = original(batch), quantized(batch)
        assert before.shape == after.shape
        assert np.abs(before[:, :4] - after[:, :4]).max() < 0.5
        assert np.abs(before[:, 4:] - after[:, 4:]).max() < 0.05
    assert {path.name for path in fp32.parent.iterdir()} == {"fp32.onnx", "int8.onnx"}


def test_weights_are_signed_for_each_channel_and_activations_are_unsigned(fp32: Path, images: np.ndarray) -> None:
    target = fp32.with_name("int8.onnx")
    quantize(fp32, target, iter(images), threads=1)
    model = onnx.load(target)
    weights = {one.name: one for one in model.graph.initializer}
    layers = {name: weights[f"{name}_quantized"] for name in ("w-stem", "w-body", "w-boxes", "w-scores")}
    assert {one.data_type for one in layers.values()} == {TensorProto.INT8}
    assert [list(weights[f"{name}_scale"].dims) for name in layers] == [[8], [8], [16], [2]]
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert {weights[name].data_type for name in zeros} == {TensorProto.UINT8}
    assert "w-weigh_quantized" not in weights


def test_weights_alone_are_quantized_without_images(fp32: Path, images: np.ndarray) -> None:
    target = fp32.with_name("dynamic.onnx")
    quantize_weights(fp32, target)
    [before], [after] = OnnxRunner(fp32, threads=1)(images), OnnxRunner(target, threads=1)(images)
    assert np.abs(before - after).max() < 0.5
    operators = [node.op_type for node in onnx.load(target).graph.node]
    assert (operators.count("ConvInteger"), operators.count("Conv")) == (4, 1)


def test_halves_are_in_all_but_what_makes_floats_of_pixels_and_what_decodes(fp32: Path, images: np.ndarray) -> None:
    target = fp32.with_name("fp16.onnx")
    halve(fp32, target)
    model = onnx.load(target)
    assert [one.type.tensor_type.elem_type for one in model.graph.input] == [TensorProto.UINT8]
    assert [one.type.tensor_type.elem_type for one in model.graph.output] == [TensorProto.FLOAT]
    weights = {one.name: one.data_type for one in model.graph.initializer}
    assert {weights[name] for name in ("w-stem", "w-body", "w-boxes", "w-scores")} == {TensorProto.FLOAT16}
    assert weights["w-weigh"] == TensorProto.FLOAT
    [before], [after] = OnnxRunner(fp32, threads=1)(images), OnnxRunner(target, threads=1)(images)
    assert 0 < np.abs(before - after).max() < 0.05


def test_eight_bits_for_tensorrt_are_around_zero_and_leave_biases(fp32: Path, images: np.ndarray) -> None:
    target = fp32.with_name("int8.onnx")
    quantize(fp32, target, iter(images), threads=1, symmetric=True)
    model = onnx.load(target)
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    linear = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = [constants[node.input[2]] for node in linear]
    assert {zero.dtype for zero in zeros} == {np.dtype(np.int8)}
    assert not any(zero.any() for zero in zeros)
    [before], [after] = OnnxRunner(fp32, threads=1)(images), OnnxRunner(target, threads=1)(images)
    assert np.abs(before - after)[:, 4:].max() < 0.1


@pytest.mark.parametrize("form", [None, "fp16", "int8"])
def test_an_engines_graph_makes_floats_of_its_input_first(form: str | None, fp32: Path, images: np.ndarray) -> None:
    source = fp32.with_name("given.onnx")
    if form is None:
        source = fp32
    elif form == "fp16":
        halve(fp32, source)
    else:
        quantize(fp32, source, iter(images), threads=1, symmetric=True)
    model = onnx.load(source)
    cast_first(model)
    onnx.checker.check_model(model, full_check=True)
    readers = [node.op_type for node in model.graph.node if "images" in node.input]
    assert readers == ["Cast"]
    target = fp32.with_name("turned.onnx")
    onnx.save(model, target)
    [before], [after] = OnnxRunner(source, threads=1)(images), OnnxRunner(target, threads=1)(images)
    np.testing.assert_array_equal(before, after)
    cast_first(model)
    onnx.save(model, target)
    np.testing.assert_array_equal(OnnxRunner(target, threads=1)(images)[0], before)


def test_a_graph_that_does_more_with_its_input_is_no_engines(fp32: Path) -> None:
    model = onnx.load(fp32)
    model.graph.node.insert(0, helper.make_node("Shape", ["images"], ["how-large"], "look"))
    with pytest.raises(ExportError, match="does more with its uint8 input"):
        cast_first(model)


def test_an_engine_is_refused_where_there_is_no_gpu() -> None:
    with pytest.raises(ConfigError, match="tensorrt-fp16 is built on the GPU that will run it, and this job has none"):
        check_available("tensorrt-fp16")


def test_jobs_that_keep_timings_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[Path] = []
    monkeypatch.setattr(Path, "replace", lambda self, _target: parts.append(self))
    # In another process the same address holds other bytes.
    for _ in range(2):
        engines._keep(tmp_path / "gpu.timings", b"times")
    assert len(set(parts)) == 2
