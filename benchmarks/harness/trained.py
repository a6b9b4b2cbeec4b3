"""A model to predict with."""

from dataclasses import dataclass
from pathlib import Path

from bloomery import Client, ModelVersion
from harness.data import WEIGHTS, weights
from harness.measure import Options, say

SIDE = 320
"""Of its input, in pixels."""


@dataclass(frozen=True)
class Model:
    """A trained model in its two forms."""

    version: ModelVersion
    onnx: Path
    checkpoint: Path


def make_model(client: Client, folder: Path, place: Path, chosen: Options) -> Model:
    """Train for a moment, export, and fetch the files."""
    say("training a model to predict with")
    project = client.create_project("cells")
    project.import_folder(folder)
    version = project.build_dataset("cells-v", split="80/10/10").wait()
    base = WEIGHTS if weights() else "scratch"
    settings = {"epochs": 1 if chosen.quick else 3, "imgsz": SIDE, "batch": 8}
    model = version.train("yolo-detect", base=base, settings=settings).wait().model_version()
    model.optimize("onnx").wait()
    files = model.download(place / "model")
    return Model(
        version=model,
        onnx=next(file for file in files if file.suffix == ".onnx"),
        checkpoint=next(file for file in files if file.suffix == ".pt"),
    )
