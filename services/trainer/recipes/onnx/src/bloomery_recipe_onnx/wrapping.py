"""A model in the form in which all models are served: bytes [B, H, W, 3] in, raw outputs in floats out, any batch.

What is missing is added to its graph, so that it runs alike wherever an ONNX file runs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from bloomery_recipe_onnx.foreign import NCHW, InputForm
from bloomery_recipe_onnx.graph import all_nodes
from bloomery_recipe_onnx.outputs import Reading
from bloomery_recipe_onnx.stated import LICENSE, OWN
from bloomery_worker.failures import ConfigError
from bloomery_worker.parity import generated_images
from bloomery_worker.predictor import Predictor
from bloomery_worker.runners import OnnxRunner

INPUT = "images"
_PREFIX = "foreign/"
_BATCH = "batch"
_TRIED = 3
"""Images at once, which is no batch that anybody exports for."""
_LONGEST = 300
_MOST_BYTES = (1 << 31) - (1 << 20)
"""Of an ONNX file, which protobuf limits to 2 GiB."""


def wrap(model: onnx.ModelProto, form: InputForm, reading: Reading, meaning: dict[str, object]) -> onnx.ModelProto:
    """The model with what is missing before and behind it.

    Args:
        model: as it came; left as it is.
        form: how it takes images.
        reading: which outputs are used, and whether a softmax is missing behind them; they become output0, output1.
        meaning: what has to be known to use it, kept in its metadata.
    """
    inner = compose.add_prefix(model, _PREFIX)
    graph = inner.graph
    before, weights = _before(form, _PREFIX + form.name)
    sources = [_PREFIX + name for name in reading.outputs]
    behind = [node for number, name in enumerate(sources) for node in _behind(number, name, reading.is_logits)]
    sides = (*form.size, 3)
    image = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [_BATCH, *sides])
    ranks = {one.name: len(one.type.tensor_type.shape.dim) for one in graph.output}
    results = [
        helper.make_tensor_value_info(f"output{number}", TensorProto.FLOAT, [_BATCH, *_open(ranks[name])])
        for number, name in enumerate(sources)
    ]
    if form.batch is not None:
        _free_batch(graph, form.batch)
    nodes = [*before, *graph.node, *behind]
    made = helper.make_graph(nodes, "wrapped", [image], results, [*weights, *graph.initializer])
    made.sparse_initializer.extend(graph.sparse_initializer)
    wrapped = helper.make_model(made, opset_imports=list(inner.opset_import), ir_version=inner.ir_version)
    wrapped.producer_name, wrapped.producer_version = inner.producer_name, inner.producer_version
    kept = {one.key: one.value for one in model.metadata_props if one.key == LICENSE}
    helper.set_model_props(wrapped, {OWN: json.dumps(meaning), **kept})
    return wrapped


def write(model: onnx.ModelProto, path: Path) -> None:
    """Writes it as one file. Raises ConfigError where that would be too large for an ONNX file."""
    if model.ByteSize() > _MOST_BYTES:
        raise ConfigError("the model has more than 2 GiB, which one ONNX file cannot hold", hint="import a smaller one")
    onnx.save(model, path)


def check_batches(path: Path, original: Predictor, form: InputForm, *, threads: int) -> None:
    """Tries whether a wrapped model answers several images at once as one by one.

    Raises:
        ConfigError: it does not, as its graph was made for another number of images.
    """
    images = generated_images(_TRIED, form.size)
    try:
        together = OnnxRunner(path, threads=threads)(images)
        alike = all(
            one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-2)
            for one, other in zip(together, original(images), strict=True)
        )
        why = "with several images at once it answers otherwise than one by one"
    except Exception as problem:  # noqa: BLE001 - the runtime has many, and says all that is known
        alike, why = False, str(problem).partition("\n")[0][:_LONGEST]
    if not alike:
        hint = "export it with a dynamic batch: dynamic=True of Ultralytics, dynamic_axes or dynamic_shapes of PyTorch"
        fixed = f"for a batch of {form.batch}" if form.batch else "so that it takes one image only"
        raise ConfigError(f"the model was exported {fixed}, and cannot take others: {why}", hint=hint)


def _open(rank: int) -> list[None]:
    return [None] * max(rank - 1, 0)


def _before(form: InputForm, target: str) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """What makes the model's own input of bytes, in the order in which `InputForm.prepared` does it."""
    nodes: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []
    last = INPUT

    def add(kind: str, *constants: str, **attributes: Any) -> None:
        nonlocal last
        nodes.append(helper.make_node(kind, [last, *constants], [f"before/{len(nodes)}"], **attributes))
        nodes[-1].name = f"before/{kind}/{len(nodes)}"
        last = nodes[-1].output[0]

    def constant(name: str, values: object) -> str:
        axes = (1, 3, 1, 1) if form.layout == NCHW else (1, 1, 1, 3)
        array = np.asarray(values, dtype=np.float32)
        weights.append(numpy_helper.from_array(array.reshape(axes) if array.ndim else array, f"before/{name}"))
        return weights[-1].name

    if form.layout == NCHW:
        add("Transpose", perm=[0, 3, 1, 2])
    if form.scale is not None:
        add("Cast", to=TensorProto.FLOAT)
        add("Div", constant("divisor", form.scale.divisor))
        if form.scale.is_centred:
            add("Sub", constant("mean", form.scale.mean))
            add("Div", constant("deviation", form.scale.deviation))
    if not nodes:
        add("Identity")
    nodes[-1].output[0] = target
    return nodes, weights


def _behind(number: int, source: str, is_logits: bool) -> list[onnx.NodeProto]:
    """What makes one of our outputs of one of the model's."""
    target = f"output{number}"
    if not is_logits:
        return [helper.make_node("Cast", [source], [target], f"behind/Cast/{number}", to=TensorProto.FLOAT)]
    between = f"behind/{number}"
    return [
        helper.make_node("Cast", [source], [between], f"behind/Cast/{number}", to=TensorProto.FLOAT),
        helper.make_node("Softmax", [between], [target], f"behind/Softmax/{number}", axis=1),
    ]


def _free_batch(graph: onnx.GraphProto, batch: int) -> None:
    """Lets shapes that were written down for a fixed batch take that of their tensor.

    An exporter that knows the batch writes it into the shapes of Reshape; 0 there means: as it is.
    """
    constants = {one.name: one for one in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants or _takes_zero(node):
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if len(shape) > 1 and shape[0] == batch:
            shape[0] = 0
            # Others may read the same constant.
            name = f"{_PREFIX}free/{number}"
            graph.initializer.append(numpy_helper.from_array(shape, name))
            node.input[1] = name
    _drop_unread(graph)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Constants that nothing reads any more, of which the runtime would warn at every load."""
    read = {name for node in all_nodes(graph) for name in node.input} | {one.name for one in graph.output}
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in [one for one in graph.node if one.op_type == "Constant" and one.output[0] not in read]:
        graph.node.remove(node)


def _takes_zero(node: onnx.NodeProto) -> bool:
    return any(one.name == "allowzero" and one.i for one in node.attribute)
