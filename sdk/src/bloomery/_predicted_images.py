"""What a prediction job wrote about each image."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bloomery._results import Prediction
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision


@dataclass(frozen=True)
class PredictedImage:
    """What a prediction job sees in one of its images, or why it cannot be read.

    `error` has a `reason`, such as "NOT_AN_IMAGE", and a `message` where there is no `prediction`.
    """

    file_name: str
    digest: str
    split: str
    prediction: Prediction | None = None
    error: Mapping[str, str] | None = None


def read(path: Path, model_version: str) -> Iterator[PredictedImage]:
    """The images of a file of predictions, one by one; `model_version` is whose they are."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield _image(json.loads(line), model_version)


def _image(line: Mapping[str, Any], model_version: str) -> PredictedImage:
    facts = {name: line[name] for name in ("file_name", "digest", "split")}
    if "error" in line:
        return PredictedImage(**facts, error=line["error"])
    proto = inference.PredictResponse(
        shapes=map(_shape, line["shapes"]), width=line["width"], height=line["height"], model_version=model_version
    )
    return PredictedImage(**facts, prediction=Prediction(proto))


def _shape(found: Mapping[str, Any]) -> vision.Shape:
    shape = vision.Shape(label=found["label"], confidence=found["score"])
    if "box" in found:
        shape.box.CopyFrom(vision.Box(**found["box"]))
    elif "polygon" in found:
        for ring in found["polygon"]["rings"]:
            shape.polygon.rings.add(coordinates=ring["coordinates"])
    elif "mask" in found:
        mask = found["mask"]
        shape.mask.width, shape.mask.height, shape.mask.counts = mask["width"], mask["height"], mask["counts"].encode()
    else:
        shape.tag.SetInParent()
    return shape
