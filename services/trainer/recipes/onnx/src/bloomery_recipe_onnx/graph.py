"""An ONNX file looked into, without running it: what it takes, what it gives, and what it says of itself."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, helper

from bloomery_worker.failures import ConfigError

OLDEST_OPSET = 11
_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Of operators that ONNX Runtime has."""
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv"})
_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
_MOST_ELEMENTS = 1 << 31
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Value:
    """An input or output: its name, numpy type and dimensions, None for those that are left open."""

    name: str
    data_type: str
    dims: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.data_type} [{', '.join('?' if dim is None else str(dim) for dim in self.dims)}]"


@dataclass(frozen=True)
class Graph:
    """A model.

    Attributes:
        model: as the file has it, with its weights.
        inputs: what it takes.
        outputs: what it gives.
        opset: version of its operators.
        producer: what wrote it, for people.
        metadata: what it says of itself, by its keys.
    """

    model: onnx.ModelProto = field(repr=False)
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    opset: int
    producer: str
    metadata: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Graph":
        """Reads a file, with the weights that lie beside it.

        Raises:
            ConfigError: it is no ONNX file, or not whole, or has what cannot be served.
        """
        model = _loaded(path)
        if problems := list(_problems(model, path.parent)):
            hint = "export it again from where it was trained"
            raise ConfigError(f"the ONNX file cannot be taken: {'; '.join(problems)}", hint=hint)
        _complete(model, path.parent)
        weights = {one.name for one in model.graph.initializer}
        return cls(
            model=model,
            inputs=tuple(_value(one) for one in model.graph.input if one.name not in weights),
            outputs=tuple(_value(one) for one in model.graph.output),
            opset=_opset(model),
            producer=f"{model.producer_name} {model.producer_version}".strip(),
            metadata={one.key: one.value for one in model.metadata_props},
        )

    @property
    def is_quantized(self) -> bool:
        """Whether it computes in 8 bits."""
        return any(node.op_type in _QUANTIZED for node in self.model.graph.node)

    @property
    def is_half(self) -> bool:
        """Whether it has weights in half precision."""
        return any(one.data_type in _HALF for one in _tensors(self.model.graph))


def _loaded(path: Path) -> onnx.ModelProto:
    hint = "give an ONNX file; a .pt file of Ultralytics is imported by the yolo recipes"
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as problem:
        raise ConfigError("the file is not an ONNX file, or not all of it arrived", hint=hint) from problem
    if not model.graph.node:
        raise ConfigError("the file is not an ONNX file: it has no graph", hint=hint)
    return model


def _problems(model: onnx.ModelProto, folder: Path) -> Iterator[str]:
    tensors = list(_tensors(model.graph))
    yield from _external(tensors, folder)
    for tensor in tensors:
        if (count := math.prod(tensor.dims)) > _MOST_ELEMENTS:
            yield f"the tensor {tensor.name[:_LONGEST]} is said to have {count} elements, at most 2 ** 31 are taken"
    if model.functions:
        yield "it has functions of its own (model-local functions): export it with them inlined"
    if odd := sorted({node.domain for node in all_nodes(model.graph)} - _DOMAINS):
        yield f"it has operators of {', '.join(odd)}, which ONNX Runtime does not know"
    if _opset(model) < OLDEST_OPSET:
        yield f"its opset is {_opset(model)}, at least {OLDEST_OPSET} is needed"


def _external(tensors: list[onnx.TensorProto], folder: Path) -> Iterator[str]:
    """What is wrong with files of weights beside the model."""
    outside = [tensor for tensor in tensors if external_data_helper.uses_external_data(tensor)]
    names = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            yield f"its weights lie in {name!r}, which is outside of its folder"
        elif path.as_posix() not in there:
            yield f"its weights lie in {name!r}, which did not come with it: give the folder that holds both"


def _complete(model: onnx.ModelProto, folder: Path) -> None:
    """Adds the weights that lie in a folder. Raises ConfigError where that makes no valid model."""
    try:
        external_data_helper.load_external_data_for_model(model, str(folder))
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as problem:
        line = str(problem).strip().partition("\n")[0][:_LONGEST]
        hint = "export it again from where it was trained"
        raise ConfigError(f"the ONNX file is not valid: {line}", hint=hint) from problem


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, also those of the graphs inside nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from all_nodes(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All weights and constants, also those of the graphs inside nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _opset(model: onnx.ModelProto) -> int:
    return max((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=0)


def _value(info: onnx.ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    try:
        data_type = str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        data_type = "no tensor"
    dims = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Value(info.name, data_type, dims)
