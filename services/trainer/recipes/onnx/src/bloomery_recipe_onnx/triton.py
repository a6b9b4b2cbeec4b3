"""The configuration of a model in a Triton model repository, as far as it says what the model takes and gives.

Names are those of Triton's model_config.proto; what else a configuration says is passed over.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, message_factory, text_format
from google.protobuf.message import Message

from bloomery_recipe_onnx.graph import Graph, Value
from bloomery_worker.failures import ConfigError

_BACKENDS = ("onnxruntime", "onnxruntime_onnx")
_NUMPY = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}
_TYPES = (
    *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"),
    *("TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
)
_Field = descriptor_pb2.FieldDescriptorProto
_NAME = "bloomery.triton"
_LISTED = (
    *("instance_group", "batch_input", "batch_output", "model_warmup", "parameters", "optimization", "resources"),
    *("execution_accelerators", "gpu_execution_accelerator", "cpu_execution_accelerator", "rate_limiter"),
)
"""What may hold lists of messages, or be one, which the parser does not pass over where it does not know their name."""


@dataclass(frozen=True, slots=True)
class ConfiguredTensor:
    """An input or output as the configuration has it; `dims` without the batch axis, -1 for any size."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TritonConfig:
    """What a configuration says. `batched` where the first axis of every tensor is a batch that `dims` leave out."""

    backend: str
    batched: bool
    inputs: tuple[ConfiguredTensor, ...]
    outputs: tuple[ConfiguredTensor, ...]
    label_files: tuple[str, ...]

    def problems(self, graph: Graph) -> Iterator[str]:
        """In what it differs from the model."""
        if self.backend and self.backend not in _BACKENDS:
            yield f"config.pbtxt names the backend {self.backend}; only onnxruntime runs an ONNX file"
        for kind, configured, there in (
            ("input", self.inputs, graph.inputs),
            ("output", self.outputs, graph.outputs),
        ):
            known = {value.name: value for value in there}
            for one in configured:
                if one.name not in known:
                    yield f"config.pbtxt has the {kind} {one.name}, the model has {', '.join(known)}"
                elif said := self._difference(one, known[one.name]):
                    yield f"config.pbtxt says that the {kind} {one.name} is {said[0]}, the model that it is {said[1]}"

    def _difference(self, one: ConfiguredTensor, value: Value) -> tuple[str, str] | None:
        dims = (-1, *one.dims) if self.batched else one.dims
        fits = len(dims) == len(value.dims) and all(
            said in (-1, own) or own is None for said, own in zip(dims, value.dims, strict=True)
        )
        if fits and _NUMPY.get(one.data_type) == value.data_type:
            return None
        said = Value(one.name, _NUMPY.get(one.data_type, one.data_type), tuple(d if d > 0 else None for d in dims))
        return str(said), str(value)


def read_config(text: str) -> TritonConfig:
    """Reads a `config.pbtxt`. Raises ConfigError where it is none."""
    try:
        message = text_format.Parse(text, _message_class()(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeError) as problem:
        hint = "mend it, or import the .onnx file alone"
        raise ConfigError(f"config.pbtxt cannot be read: {problem}", hint=hint) from problem
    config: Any = message
    return TritonConfig(
        backend=config.backend or config.platform,
        batched=config.max_batch_size > 0,
        inputs=_tensors(config.input),
        outputs=_tensors(config.output),
        label_files=tuple(one.label_filename for one in config.output if one.label_filename),
    )


def _tensors(messages: Sequence[Any]) -> tuple[ConfiguredTensor, ...]:
    return tuple(ConfiguredTensor(one.name, _type(one.data_type), tuple(one.dims)) for one in messages)


def _type(number: int) -> str:
    """Its name; the number itself where it has none."""
    return _TYPES[number] if 0 <= number < len(_TYPES) else str(number)


@cache
def _message_class() -> type[Message]:
    """Made here: Triton's own stubs would bring much along. A text has names only, so that numbers do not matter."""
    file = descriptor_pb2.FileDescriptorProto(name="bloomery_triton.proto", package=_NAME, syntax="proto3")
    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(_TYPES):
        types.value.add(name=name, number=number)
    tensor = file.message_type.add(name="Tensor")
    _add(tensor, "name", 1, _Field.TYPE_STRING)
    _add(tensor, "data_type", 2, _Field.TYPE_ENUM, type_name=f".{_NAME}.DataType")
    _add(tensor, "dims", 3, _Field.TYPE_INT64, repeated=True)
    _add(tensor, "label_filename", 4, _Field.TYPE_STRING)
    rest = file.message_type.add(name="Rest")
    config = file.message_type.add(name="ModelConfig")
    for number, name in enumerate(_LISTED, 100):
        for message in (rest, config):
            _add(message, name, number, _Field.TYPE_MESSAGE, type_name=f".{_NAME}.Rest", repeated=True)
    _add(config, "name", 1, _Field.TYPE_STRING)
    _add(config, "platform", 2, _Field.TYPE_STRING)
    _add(config, "max_batch_size", 4, _Field.TYPE_INT32)
    for number, name in ((5, "input"), (6, "output")):
        _add(config, name, number, _Field.TYPE_MESSAGE, type_name=f".{_NAME}.Tensor", repeated=True)
    _add(config, "backend", 17, _Field.TYPE_STRING)
    return message_factory.GetMessages([file])[f"{_NAME}.ModelConfig"]


def _add(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: "descriptor_pb2.FieldDescriptorProto.Type.ValueType",
    *,
    type_name: str = "",
    repeated: bool = False,
) -> None:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    message.field.add(name=name, number=number, type=kind, type_name=type_name or None, label=label)
