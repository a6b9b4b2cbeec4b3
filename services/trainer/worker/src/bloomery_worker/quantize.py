"""ONNX models in 8 bits: which parts of a graph stay as they are, and what is done with the others.

Static: weights signed for each channel, activations unsigned with ranges from images, by QuantizeLinear nodes; signed
activations would be slower than no quantisation at all on x86. Dynamic: weights only, ranges found at each run.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import NodeProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.calibrate import MinMaxCalibrater, TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from bloomery_worker.predictor import Images

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SHAPING = frozenset({"Reshape", "Transpose", "Split", "Slice", "Squeeze", "Unsqueeze", "Identity"})
_DYNAMIC = ("Conv", "MatMul", "Gemm")
_SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "DedicatedQDQPair": True}


def quantize(fp32: Path, target: Path, images: Iterator[Images], *, threads: int, symmetric: bool = False) -> None:
    """Writes a model in 8 bits, with ranges that `images` [H, W, 3], fitted as the model takes them, bring about.

    With `symmetric` as TensorRT takes it: the inputs of layers with weights alone, signed and around zero, no biases.
    """
    file = prepared(fp32)
    ranges = fp32.with_suffix(".ranges.json")
    save_tensors_data(_ranges(file, images, threads), ranges)
    quantize_static(
        file,
        target,
        calibration_cache_path=ranges,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=kept_nodes(onnx.load(file)),
        op_types_to_quantize=sorted(_WEIGHTED) if symmetric else None,
        extra_options=_SYMMETRIC if symmetric else None,
    )
    file.unlink()
    ranges.unlink()


def quantize_weights(fp32: Path, target: Path) -> None:
    """Writes a model with weights in 8 bits, which needs no images."""
    file = prepared(fp32)
    quantize_dynamic(
        file,
        target,
        op_types_to_quantize=_DYNAMIC,
        # Signed ones take four times as long as floats here.
        weight_type=QuantType.QUInt8,
        nodes_to_exclude=kept_nodes(onnx.load(file)),
    )
    file.unlink()


def kept_nodes(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes that must keep their numbers: what makes floats of pixels, and what decodes the outputs.

    A decoder joins pixels from 0 to 640 and scores from 0 to 1 in one tensor, which one scale of 8 bits cannot hold.
    It is what lies behind the last layers with weights; one that only weighs a distribution is a part of it.
    """
    graph = _Graph(model)
    return sorted(graph.before() | graph.behind())


def prepared(fp32: Path) -> Path:
    """The same model with known shapes, folded constants and a name for each node."""
    target = fp32.with_suffix(".prepared.onnx")
    # Its symbolic shapes do not know all that heads do with a batch of any size.
    quant_pre_process(fp32, target, skip_symbolic_shape=True)
    model = onnx.load(target)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"unnamed-{number}"
    onnx.save(model, target)
    return target


def _ranges(file: Path, images: Iterator[Images], threads: int) -> TensorsData:
    """The smallest and largest value of each tensor."""
    augmented = file.with_suffix(".augmented.onnx")
    calibrater = MinMaxCalibrater(file, augmented_model_path=str(augmented))
    calibrater.augment_graph()
    # Its own session would take all cores of the machine, whatever this process may use.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    calibrater.infer_session = onnxruntime.InferenceSession(augmented, options, providers=["CPUExecutionProvider"])
    calibrater.collect_data(_Reader(images, calibrater.model.graph.input[0].name))
    augmented.unlink()
    return calibrater.compute_data()


class _Graph:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = model.graph.node
        self._inputs = {one.name for one in model.graph.input}
        self._outputs = [one.name for one in model.graph.output]
        self._weights = {one.name for one in model.graph.initializer}
        self._maker: Mapping[str, NodeProto] = {name: node for node in self._nodes for name in node.output}

    def behind(self) -> set[str]:
        """Nodes between the last layers with weights and the outputs."""
        found: set[str] = set()
        left = [self._maker[name] for name in self._outputs if name in self._maker]
        while left:
            node = left.pop()
            if node.name not in found and not self._is_layer(node):
                found.add(node.name)
                # What has only its size asked for is no part of the answer.
                data = [] if node.op_type == "Shape" else node.input
                left += [self._maker[name] for name in data if name in self._maker]
        return found

    def before(self) -> set[str]:
        """Nodes between the inputs and the first layers with weights."""
        reached, found = set(self._inputs), set()
        for node in self._nodes:
            if node.op_type not in _WEIGHTED and reached & set(node.input):
                found.add(node.name)
                reached |= set(node.output)
        return found

    def _is_layer(self, node: NodeProto) -> bool:
        has_weights = node.op_type in _WEIGHTED and not self._weights.isdisjoint(node.input[1:])
        return has_weights and not self._weighs_distribution(node)

    def _weighs_distribution(self, node: NodeProto) -> bool:
        source = self._maker.get(node.input[0])
        while source is not None and source.op_type in _SHAPING:
            source = self._maker.get(source.input[0])
        return source is not None and source.op_type == "Softmax"


class _Reader(CalibrationDataReader):  # type: ignore[misc] # the library has no types
    def __init__(self, images: Iterator[Images], name: str) -> None:
        self._images, self._name = images, name

    def get_next(self) -> dict[str, Images] | None:
        """The next batch, of one."""
        image = next(self._images, None)
        return None if image is None else {self._name: image[np.newaxis]}
