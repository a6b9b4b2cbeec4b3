"""PREDICT: what a model sees on the images of a dataset version, as one line of JSON an image."""

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bloomery_vision.geometry import Box, Found, Mask, Polygon, Tag
from bloomery_vision.interpret import Choice, Fitted, fit, interpret
from bloomery_vision.manifest import ManifestRow
from bloomery_worker import machine
from bloomery_worker.applying import Applied, lineage, multi_label, paced
from bloomery_worker.context import Context
from bloomery_worker.messages import FileNote
from bloomery_worker.predictor import Images, predictions
from bloomery_worker.recipe import Result
from bloomery_worker.splits import count_of, rows_of, split_of

BATCH = 8
FILE = "predictions.jsonl"


def predict(context: Context, model: Applied) -> Result:
    """Predicts with a model on the split that the job names and writes what is found."""
    started = time.monotonic()
    target = context.work_dir / FILE
    shapes = _written(target, _lines(context, model))
    details = {
        **lineage(context, model),
        "classes": list(model.classes),
        "split": split_of(context),
        "images": count_of(context),
        "shapes": shapes,
        "duration_seconds": time.monotonic() - started,
    }
    made = FileNote(path=str(target), role="predictions", file_name=FILE, media_type="application/jsonl")
    return Result(files=(made,), metrics={}, details=details, versions=machine.versions(model.packages))


def _written(target: Path, lines: Iterator[tuple[ManifestRow, list[Found]]]) -> int:
    """Writes a line an image as it comes, and returns how many shapes there are in all."""
    shapes = 0
    with target.open("w", encoding="utf-8") as stream:
        for row, found in lines:
            shapes += len(found)
            stream.write(json.dumps(document(row, found), separators=(",", ":"), ensure_ascii=False) + "\n")
    return shapes


def _lines(context: Context, model: Applied) -> Iterator[tuple[ManifestRow, list[Found]]]:
    choice = Choice(
        conf=float(context.parameters["confidence"]),
        iou=float(context.parameters.get("iou", Choice().iou)),
        multi_label=multi_label(context),
    )
    check = paced(context, "predicting", count_of(context))
    pending: deque[tuple[ManifestRow, Fitted]] = deque()

    def images() -> Iterator[Images]:
        for row in rows_of(context):
            check()
            fitted = fit(context.dataset.image(row), model.size, model.resize)
            pending.append((row, fitted))
            yield fitted.pixels

    for outputs in predictions(model.predict, images(), batch=BATCH):
        row, fitted = pending.popleft()
        yield row, list(interpret(model.decoder, outputs, fitted, model.classes, choice))


def document(row: ManifestRow, found: list[Found]) -> dict[str, object]:
    """A line as plain JSON values; shapes in pixels of the original image as it is shown, best first.

    Numbers are whole in single precision, so that figures computed from the file are those of the model.
    """
    shapes = [{"label": one.label, "score": _single(one.score), **_place(one.geometry)} for one in found]
    facts = {name: getattr(row, name) for name in ("file_name", "original_name", "digest", "split", "width", "height")}
    return {**facts, "shapes": shapes}


def _place(geometry: Box | Polygon | Mask | Tag) -> dict[str, object]:
    match geometry:
        case Box() as box:
            return {"box": _sides(box)}
        case Mask(width=width, height=height, counts=counts) as mask:
            whole = {"width": width, "height": height, "counts": counts.decode("ascii")}
            return {"mask": whole, "bounds": _sides(mask.bounds)}
        case _:
            return {"tag": {}}


def _sides(box: Box) -> dict[str, float]:
    return {name: _single(getattr(box, name)) for name in ("x", "y", "width", "height")}


def _single(value: float) -> float:
    """The number with the fewest digits that is the same in single precision."""
    return float(str(np.float32(value)))
