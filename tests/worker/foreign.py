"""Models from elsewhere: exported by the libraries that people export with, and small ones with faults."""

import os
import shutil
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from bloomery_recipe_onnx.foreign import InputForm
from bloomery_recipe_onnx.graph import Graph
from bloomery_recipe_onnx.package import open_package
from bloomery_recipe_onnx.trial import check_runs
from bloomery_recipe_onnx.understanding import Understood, understand
from bloomery_recipe_onnx.wrapping import wrap, write
from bloomery_worker.blobs import digest_of
from bloomery_worker.context import Context
from bloomery_worker.messages import Value
from tests.worker.test_parts import JOB

MEMORY = 2 << 30
PLAIN: Mapping[str, Value] = {"classes": "a\nb\nc", "scale": "1/255"}
"""What there is to say of the models that are made here."""


def exported(folder: Path, source: str, *, size: int, **options: object) -> Path:
    """An ONNX file that Ultralytics has exported of weights, or of an architecture with random ones."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    import torch
    from ultralytics import YOLO  # type: ignore[attr-defined]

    torch.manual_seed(0)
    inside = folder / Path(source).name
    if Path(source).is_file():
        shutil.copy(source, inside)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = YOLO(str(inside) if inside.exists() else source).export(
            format="onnx", imgsz=size, simplify=False, **options
        )
    return Path(made).replace(folder / f"{inside.stem}{len(list(folder.iterdir()))}.onnx")


def to_onnx(model: Any, sample: Any, path: Path, *, opset: int = 17) -> None:
    """Exports a model of one input and one output as torch does, with a batch of any size."""
    import torch

    axes = {"x": {0: "n"}, "y": {0: "n"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (sample,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=axes,
        )


def job(file: Path, task: str, folder: Path, parameters: Mapping[str, Value]) -> Context:
    """An IMPORT job for a file."""
    spec = replace(
        JOB,
        kind="IMPORT",
        task=task,
        recipe=f"onnx-{task}",
        parameters=parameters,
        base=file.name,
        base_file=str(file),
        base_digest=digest_of(file),
        work_dir=str(folder),
        cache_dir=str(folder),
        classes=(),
        cpus=1,
        memory_share=MEMORY,
    )
    return Context(spec, lambda _: None, threading.Event())


def read(
    file: Path, task: str, folder: Path, parameters: Mapping[str, Value], *, run: bool = True
) -> tuple[Graph, Understood]:
    """What an import makes out of a file, tried in a process of its own where it is to `run` there first."""
    context = job(file, task, folder, parameters)
    package = open_package(file, folder / "given")
    graph = Graph.read(package.model)

    def check(form: InputForm) -> None:
        if run:
            check_runs(package.model, form, memory=MEMORY, threads=1, check=lambda: None)

    return graph, understand(context, package, graph, check_runs=check, threads=1)


def wrapped(file: Path, task: str, folder: Path, parameters: Mapping[str, Value]) -> tuple[Path, Understood]:
    """The file as it would be served."""
    graph, understood = read(file, task, folder, parameters, run=False)
    target = folder / "wrapped.onnx"
    height, width = understood.form.size
    meaning = {"task": task, "classes": understood.classes, "height": height, "width": width}
    read_by = {"decoder": understood.reading.decoder, "resize": "center-crop" if task == "classify" else "letterbox"}
    write(wrap(graph.model, understood.form, understood.reading, {**meaning, **read_by}), target)
    return target, understood


def answers(file: Path, values: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    """What a file answers to its only input."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(None, {session.get_inputs()[0].name: values})
    return found


def detector(
    path: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, 32, 32),
    nodes: Sequence[NodeProto] = (),
    data_type: int = TensorProto.FLOAT,
    value: float = 0.5,
    rows: int = 7,
    opset: int = 17,
    weights: Sequence[TensorProto] = (),
) -> Path:
    """A model with the outputs of a YOLO detector of three classes, all of them `value` times the mean of the image.

    `nodes` come last, and make "output0" of "raw".
    """
    column = np.full((1, rows, 1), value, dtype=np.float32)
    column[:, :4] *= 16
    last = list(nodes) or [helper.make_node("Identity", ["raw"], ["output0"])]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("GlobalMaxPool", ["floats"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
            helper.make_node("ReduceMean", ["flat"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Clip", ["mean", "zero", "one"], ["brightness"]),
            helper.make_node("Unsqueeze", ["brightness", "axis"], ["deep"]),
            helper.make_node("Mul", ["deep", "column"], ["raw"]),
            *last,
        ],
        "detector",
        [helper.make_tensor_value_info("images", data_type, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [None, None, None])],
        [
            numpy_helper.from_array(np.tile(column, (1, 1, 40)), "column"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "axis"),
            *weights,
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
