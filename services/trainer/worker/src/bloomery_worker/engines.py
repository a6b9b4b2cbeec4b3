"""TensorRT engines: built on the GPU that runs them, from graphs that say the type of each number.

TensorRT 11 types every tensor as the graph does, and has neither a calibrator nor switches for precisions. So a graph
is brought into halves before, by ONNX Runtime's converter, or comes with QuantizeLinear nodes.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bloomery_worker.export import MAX_BATCH
from bloomery_worker.failures import ConfigError, ExportError

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

WORKSPACE = 4 << 30
"""Bytes of the GPU that building may take for what is tried out."""
_OFTEN = 1
"""Images of the batch that an engine is made fastest for."""


def check_available(form: str) -> None:
    """Raises ConfigError where no engine can be built or run here."""
    import torch

    if not torch.cuda.is_available():
        message = f"{form} is built on the GPU that will run it, and this job has none"
        raise ConfigError(message, hint="ask for it where the server has a GPU, or choose another form")
    if not find_spec("tensorrt"):
        message = f"{form} is built by the package tensorrt, which this worker lacks"
        raise ConfigError(message, hint="install tensorrt-cu13 beside the worker, or choose another form")


def halve(fp32: Path, target: Path) -> None:
    """Writes a model that computes in half precision, but for what makes floats of pixels and what decodes.

    Its inputs and outputs keep their types.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    from bloomery_worker.quantize import kept_nodes, prepared

    file = prepared(fp32)
    model = onnx.load(file)
    file.unlink()
    halved = OnnxModel(convert_float_to_float16(model, keep_io_types=True, node_block_list=kept_nodes(model)))
    # It casts what several of these read once for each, by one name, and leaves nodes behind those that read them.
    _drop_repeated(halved.model)
    halved.topological_sort()
    onnx.save(halved.model, target)


def _drop_repeated(model: "onnx.ModelProto") -> None:
    """Drops casts whose output another one gives already."""
    seen: set[str] = set()
    kept = []
    for node in model.graph.node:
        if node.op_type != "Cast" or node.output[0] not in seen:
            kept.append(node)
        seen |= set(node.output)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def cast_first(model: "onnx.ModelProto") -> None:
    """Lets what makes floats of the uint8 input come before what turns its axes: TensorRT knows no other use of uint8.

    Raises:
        ExportError: the input goes anywhere else.
    """
    nodes, inputs = model.graph.node, {one.name for one in model.graph.input}
    readers = [node for node in nodes if inputs & set(node.input)]
    if all(node.op_type == "Cast" for node in readers):
        return
    casts = [node for node in nodes if node.op_type == "Cast" and readers[0].output[0] in node.input]
    if len(readers) != 1 or readers[0].op_type != "Transpose" or len(casts) != 1:
        raise ExportError("the model does more with its uint8 input than to make floats of it", hint="report it")
    (turn,), (cast,) = readers, casts
    source, between, target = turn.input[0], turn.output[0], cast.output[0]
    turn.input[0], turn.output[0] = between, target
    cast.input[0], cast.output[0] = source, between
    at, then = (list(nodes).index(node) for node in (turn, cast))
    second = type(turn)()
    second.CopyFrom(turn)
    nodes[at].CopyFrom(cast)
    nodes[then].CopyFrom(second)
    # They speak of types that are no longer so.
    del model.graph.value_info[:]


def build(graph: Path, target: Path, *, timings: Path) -> None:
    """Writes the engine of an ONNX graph for this GPU, for batches of 1 to `MAX_BATCH` images.

    Args:
        graph: the types of all tensors are as it says.
        target: of the engine.
        timings: a file that remembers how fast kernels are here, so that the next engine is built sooner.

    Raises:
        ExportError: TensorRT cannot build it; with its own words.
    """
    import onnx
    import tensorrt as trt  # type: ignore[import-not-found] # only where there is a GPU

    model = onnx.load(graph)
    cast_first(model)
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        told = "; ".join(parser.get_error(number).desc() for number in range(parser.num_errors))
        raise ExportError(f"TensorRT cannot read the graph: {told}", hint="choose another form")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    profile = builder.create_optimization_profile()
    for name, shape in _shapes(model):
        profile.set_shape(name, (1, *shape), (_OFTEN, *shape), (MAX_BATCH, *shape))
    config.add_optimization_profile(profile)
    known = timings.read_bytes() if timings.exists() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, True)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError("TensorRT cannot build an engine of the graph on this GPU", hint="look at the job's log")
    target.write_bytes(plan)
    _keep(timings, bytes(cache.serialize()))


def _shapes(model: "onnx.ModelProto") -> Iterator[tuple[str, tuple[int, ...]]]:
    """The inputs with their dims behind the batch."""
    for one in model.graph.input:
        yield one.name, tuple(dim.dim_value for dim in one.type.tensor_type.shape.dim[1:])


def _keep(file: Path, content: bytes) -> None:
    """Puts a file in the place of another one at once, as jobs beside this one read it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{uuid4().hex}.part")
    part.write_bytes(content)
    part.replace(file)


class EngineRunner:
    """An engine on the GPU. Threads have no say there.

    Attributes:
        output_names: of its outputs, in their order.
    """

    def __init__(self, path: Path, *, threads: int) -> None:  # noqa: ARG002 - as other runners have it
        import tensorrt as trt
        import torch

        self._torch = torch
        self._engine: Any = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ExportError("the engine is of another GPU or version of TensorRT", hint="make it again on this one")
        self._context: Any = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        [self._input] = [name for name in names if is_input[name]]
        self.output_names = tuple(name for name in names if not is_input[name])

    def __call__(self, images: "NDArray[np.uint8]") -> "tuple[NDArray[np.float32], ...]":
        """The raw outputs, of any number of images: no more than `MAX_BATCH` at once."""
        torch = self._torch
        parts = [self._run(images[at : at + MAX_BATCH]) for at in range(0, len(images), MAX_BATCH)]
        return tuple(torch.cat(outputs).numpy() for outputs in zip(*parts, strict=True))

    def _run(self, images: "NDArray[np.uint8]") -> list[Any]:
        torch = self._torch
        given = torch.from_numpy(images).cuda()
        self._context.set_input_shape(self._input, tuple(given.shape))
        made = [
            torch.empty(tuple(self._context.get_tensor_shape(name)), dtype=torch.float32, device="cuda")
            for name in self.output_names
        ]
        for name, tensor in zip((self._input, *self.output_names), (given, *made), strict=True):
            self._context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.Stream()
        # What is given and made was asked for on the present stream.
        stream.wait_stream(torch.cuda.current_stream())
        if not self._context.execute_async_v3(stream.cuda_stream):
            raise ExportError("TensorRT could not run the engine", hint="look at the job's log")
        stream.synchronize()
        return [tensor.cpu() for tensor in made]
