"""PREDICT: what a model sees on the images of a dataset version, as one line of JSON an image."""

import json
import logging
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.geometry import Box, Found, Mask, Polygon, Tag
from bloomery_vision.images import ImageError, decode
from bloomery_vision.interpret import Choice, Fitted, fit, interpret
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.rings import polygon_of
from bloomery_worker import machine
from bloomery_worker.applying import Applied, lineage, multi_label, paced
from bloomery_worker.context import Context, StopRequestedError
from bloomery_worker.failures import ConfigError, DataError
from bloomery_worker.messages import FileNote
from bloomery_worker.predictor import Images, predictions
from bloomery_worker.recipe import Result
from bloomery_worker.splits import count_of, rows_of, split_of

BATCH = 8
FILE = "predictions.jsonl"
CHECKPOINT_SECONDS = 60.0
"""After what time the lines so far are saved: what a worker that is killed has done since is done again."""
_WARNED = 20

Line = Mapping[str, object]


@dataclass
class Ledger:
    """What became of the images so far: `predicted` and `failed` by reason are all of them."""

    predicted: int = 0
    shapes: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def seen(self) -> int:
        """Images so far, each of which has a line."""
        return self.predicted + self.failed.total()

    def count(self, line: Line) -> None:
        """Takes in the line of an image."""
        match line:
            case {"shapes": list(shapes)}:
                self.predicted += 1
                self.shapes += len(shapes)
            case {"error": {"reason": str(reason)}}:
                self.failed[reason] += 1


def predict(context: Context, model: Applied) -> Result:
    """Predicts with a model on the split that the job names and writes what is found.

    Goes on behind the lines of the checkpoint, if there is one. An image that cannot be read is one of many: its line
    says why.

    Raises:
        DataError: none of the images can be read.
        StopRequestedError: on request, once the lines so far are saved.
    """
    started = time.monotonic()
    target = context.work_dir / FILE
    ledger = _resumed(context, target)
    with target.open("a", encoding="utf-8") as stream:
        _write(context, model, stream, ledger)
    if ledger.failed and not ledger.predicted:
        raise DataError(
            f"none of {ledger.seen} images can be read", items=[f"{k}: {n}" for k, n in ledger.failed.items()]
        )
    details = {
        **lineage(context, model),
        "classes": list(model.classes),
        "split": split_of(context),
        "images": ledger.seen,
        "predicted": ledger.predicted,
        "failed": dict(ledger.failed),
        "shapes": ledger.shapes,
        "duration_seconds": time.monotonic() - started,
    }
    made = FileNote(path=str(target), role="predictions", file_name=FILE, media_type="application/jsonl")
    return Result(files=(made,), metrics={}, details=details, versions=machine.versions(model.packages))


def _resumed(context: Context, target: Path) -> Ledger:
    """What the checkpoint holds, whose lines are those of `target` now."""
    ledger = Ledger()
    target.unlink(missing_ok=True)
    if context.job.resume_dir:
        shutil.copyfile(Path(context.job.resume_dir) / FILE, target)
        with target.open(encoding="utf-8") as lines:
            for line in lines:
                ledger.count(json.loads(line))
        context.log.info("%d images are predicted already", ledger.seen)
    return ledger


def _write(context: Context, model: Applied, stream: TextIO, ledger: Ledger) -> None:
    """Writes a line an image as it comes, and saves them now and then."""
    saved = time.monotonic()
    try:
        for line in _lines(context, model, ledger.seen):
            ledger.count(line)
            stream.write(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                _save(context, stream, ledger)
                saved = time.monotonic()
    except StopRequestedError:
        _save(context, stream, ledger)
        raise StopRequestedError(ledger.seen) from None


def _save(context: Context, stream: TextIO, ledger: Ledger) -> None:
    """Hands the lines so far over as a checkpoint; its number is how many they are."""
    stream.flush()
    folder = context.work_dir / "checkpoints" / str(ledger.seen)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(stream.name, folder / FILE)
    context.checkpoint(folder, epoch=ledger.seen, best=False)


def _lines(context: Context, model: Applied, done: int) -> Iterator[Line]:
    """The lines of the images behind the first `done`, in the order of their names."""
    choice = _choice(context, model.classes)
    check = paced(context, "predicting", count_of(context), model.device, done=done)
    warn = _warning(context.log)
    waiting: deque[tuple[ManifestRow, Fitted | Line]] = deque()

    def images() -> Iterator[Images]:
        for number, row in enumerate(rows_of(context)):
            if number < done:
                continue
            check()
            try:
                fitted = fit(_pixels(context, row), model.size, model.resize)
            except ImageError as problem:
                warn(f"{row.file_name} cannot be read: {problem.message}")
                waiting.append((row, _refused(row, problem)))
            else:
                waiting.append((row, fitted))
                yield fitted.pixels

    for outputs in predictions(model.predict, images(), batch=BATCH):
        yield from _refusals(waiting)
        row, fitted = waiting.popleft()
        assert isinstance(fitted, Fitted)
        yield document(row, _as_asked(context, interpret(model.decoder, outputs, fitted, model.classes, choice)))
    yield from _refusals(waiting)


def _choice(context: Context, classes: Sequence[str]) -> Choice:
    """What the job wants of what the model sees; older jobs, and classifiers, lack some of it. Raises ConfigError."""
    given = context.parameters
    names = [name for one in str(given.get("classes", "")).split(",") if (name := one.strip())]
    if unknown := [name for name in names if name not in classes]:
        known = f"the model knows {', '.join(classes)}"
        raise ConfigError(f"{', '.join(unknown)} is no class of the model", hint=known)
    return Choice(
        conf=float(given["threshold"]),
        iou=float(given.get("iou_threshold", Choice().iou)),
        max_det=int(given.get("max_shapes", Choice().max_det)),
        classes=[classes.index(name) for name in names] or None,
        multi_label=multi_label(context),
    )


def _as_asked(context: Context, found: Iterable[Found]) -> list[Found]:
    """What is seen, masks as outlines where the job wants them so; of one without a pixel nothing can be drawn."""
    if context.parameters.get("masks", "rle") == "rle":
        return list(found)
    outlined = ((one, polygon_of(one.geometry) if isinstance(one.geometry, Mask) else one.geometry) for one in found)
    return [replace(one, geometry=geometry) for one, geometry in outlined if geometry is not None]


def _refusals(waiting: deque[tuple[ManifestRow, Fitted | Line]]) -> Iterator[Line]:
    """The lines of the images at the front of those that wait that cannot be read."""
    while waiting and not isinstance(line := waiting[0][1], Fitted):
        waiting.popleft()
        yield line


def _pixels(context: Context, row: ManifestRow) -> NDArray[np.uint8]:
    """The image, uint8 RGB [H, W, 3]. Raises ImageError."""
    path = context.dataset.image_file(row)
    if not path.exists():
        raise ImageError("IMAGE_MISSING", "its bytes are not there, or are others")
    return decode(path)


def _warning(log: logging.Logger) -> Callable[[str], None]:
    """A function that logs warnings, the first few only."""
    told = 0

    def warn(message: str) -> None:
        nonlocal told
        told += 1
        if told <= _WARNED:
            log.warning("%s", message)

    return warn


def _facts(row: ManifestRow, *names: str) -> dict[str, object]:
    return {name: getattr(row, name) for name in ("file_name", "original_name", "digest", "split", *names)}


def _refused(row: ManifestRow, problem: ImageError) -> Line:
    return {**_facts(row), "error": {"reason": problem.code, "message": problem.message}}


def document(row: ManifestRow, found: list[Found]) -> dict[str, object]:
    """A line as plain JSON values; shapes in pixels of the original image as it is shown, best first.

    Numbers are whole in single precision, so that figures computed from the file are those of the model.
    """
    shapes = [{"label": one.label, "score": _single(one.score), **_place(one.geometry)} for one in found]
    return {**_facts(row, "width", "height"), "shapes": shapes}


def _place(geometry: Box | Polygon | Mask | Tag) -> dict[str, object]:
    match geometry:
        case Box() as box:
            return {"box": _sides(box)}
        case Mask(width=width, height=height, counts=counts) as mask:
            whole = {"width": width, "height": height, "counts": counts.decode("ascii")}
            return {"mask": whole, "bounds": _sides(mask.bounds)}
        case Polygon() as polygon:
            rings = [{"coordinates": [_single(side) for point in ring for side in point]} for ring in polygon.rings]
            return {"polygon": {"rings": rings}, "bounds": _sides(polygon.bounds)}
        case _:
            return {"tag": {}}


def _sides(box: Box) -> dict[str, float]:
    return {name: _single(getattr(box, name)) for name in ("x", "y", "width", "height")}


def _single(value: float) -> float:
    """The number with the fewest digits that is the same in single precision."""
    return float(str(np.float32(value)))
