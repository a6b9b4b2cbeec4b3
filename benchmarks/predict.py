"""Predict over gRPC, beside bare ONNX Runtime in one process and beside Ultralytics, on the same model and images."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import onnxruntime

from bloomery import ModelVersion
from bloomery_vision.images import decode
from bloomery_vision.postprocess import decode_detections
from bloomery_vision.preprocess import letterbox
from harness.data import blood_cells, sample, weights
from harness.echo import running_echo
from harness.measure import (
    Options,
    Table,
    median_and_range,
    milliseconds,
    options,
    percentile,
    ratios,
    report,
    say,
)
from harness.peer import Yolo
from harness.server import running_server, scratch
from harness.trained import SIDE, make_model

IMAGES = 60
PARALLEL = 4
WARM = 5
STAGES = ("queue", "load", "decode", "preprocess", "inference", "postprocess", "total")
Predict = Callable[[bytes], Mapping[str, float]]


@dataclass
class Figures:
    """Seconds: of single images, for gRPC alone in `echo`, and of whole sets for the parallel ones; of stages ms."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    peer: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)
    ours_together: list[float] = field(default_factory=list)
    bare_together: list[float] = field(default_factory=list)
    our_stages: list[Mapping[str, float]] = field(default_factory=list)
    bare_stages: list[Mapping[str, float]] = field(default_factory=list)


def ours(version: ModelVersion) -> Predict:
    """Predict through the server; its own stages in milliseconds."""

    def predict(image: bytes) -> Mapping[str, float]:
        timings = version.predict(image).timings
        return {stage: getattr(timings, f"{stage}_ms") for stage in STAGES}

    return predict


def bare(model: Path) -> Predict:
    """Predict with the least that it takes: the same steps by the same functions in this process."""
    settings = onnxruntime.SessionOptions()
    # It spins as it likes while it runs, and not on into the turn of the one that it is compared with.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])

    def predict(image: bytes) -> Mapping[str, float]:
        marks = [time.perf_counter()]
        pixels = decode(image)
        marks.append(time.perf_counter())
        framed, transform = letterbox(pixels, (SIDE, SIDE))
        marks.append(time.perf_counter())
        (raw,) = session.run(None, {"images": framed[None]})
        marks.append(time.perf_counter())
        transform.to_original(decode_detections(raw[0]).boxes)
        marks.append(time.perf_counter())
        spans = [(end - start) * 1000 for start, end in pairwise(marks)]
        return dict(zip(("decode", "preprocess", "inference", "postprocess"), spans, strict=True))

    return predict


def peer(model: Path, folder: Path, place: Path) -> list[float]:
    """Seconds from image to image of Ultralytics' own predict, on the square that we use."""
    lines = Yolo(place).run(
        "detect", "predict", model=str(model), source=str(folder), imgsz=SIDE, rect=False, save=False, conf=0.25
    )
    at = [line.at for line in lines if line.text.startswith("image ")]
    return [end - start for start, end in pairwise(at)][WARM:]


def seconds_of(call: Callable[[bytes], object], image: bytes) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call(image)
    return time.perf_counter() - started


def timed(predict: Predict, image: bytes, seconds: list[float], stages: list[Mapping[str, float]]) -> None:
    """Predict once and keep how long it took."""
    seconds.append(seconds_of(lambda given: stages.append(predict(given)), image))


def together(predict: Predict, images: Sequence[bytes]) -> float:
    """Seconds for all images, several at once."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        started = time.perf_counter()
        list(pool.map(predict, images))
        return time.perf_counter() - started


def measure(place: Path, chosen: Options) -> Figures:
    """Interleave image by image, then set by set."""
    folder = sample(place / "images", 20 if chosen.quick else IMAGES)
    images = [path.read_bytes() for path in sorted((folder / "JPEGImages").iterdir())]
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    figures = Figures()
    with running_server(place, settings) as server, server.client() as client:
        model = make_model(client, blood_cells() if not chosen.quick else folder, place, chosen)
        through, within = ours(model.version), bare(model.onnx)
        for image in images[:WARM]:
            through(image)
            within(image)
        with running_echo(model.version.predict(images[0]).proto.ByteSize()) as echo:
            for number in range(chosen.rounds):
                say(f"round {number + 1} of {chosen.rounds}")
                for image in images:
                    timed(through, image, figures.ours, figures.our_stages)
                    timed(within, image, figures.bare, figures.bare_stages)
                    figures.echo.append(seconds_of(echo, image))
                figures.ours_together.append(together(through, images))
                figures.bare_together.append(together(within, images))
                figures.peer += peer(model.checkpoint, folder / "JPEGImages", place)
    return figures


def speed_table(figures: Figures, images: int) -> Table:
    """One image after the other, and several at once."""

    def row(name: str, each: list[float], sets: list[float]) -> tuple[str, ...]:
        rates = median_and_range([images / one for one in sets], 1) if sets else ""
        return name, milliseconds(statistics.median(each)), milliseconds(percentile(each, 95)), rates

    rows = [
        row("Bloomery, Predict over gRPC", figures.ours, figures.ours_together),
        row("bare ONNX Runtime, same steps", figures.bare, figures.bare_together),
        row("Ultralytics predict", figures.peer, []),
    ]
    beside = ratios(figures.ours, figures.bare)
    note = (
        f"Bloomery takes {statistics.median(beside):.2f} times as long as bare ONNX Runtime (median of {len(beside)}"
        f" interleaved pairs; {PARALLEL} at once:"
        f" {median_and_range(ratios(figures.ours_together, figures.bare_together))}) and"
        f" {statistics.median(figures.ours) / statistics.median(figures.peer):.2f} times as long as Ultralytics."
    )
    columns = ("what", "p50", "p95", f"images/s, {PARALLEL} at once")
    return Table(f"one 640x480 JPEG to boxes, YOLOv8n at {SIDE} px", columns, rows, note)


def stage_table(figures: Figures) -> Table:
    """Where the time goes."""

    def median(stages: Sequence[Mapping[str, float]], name: str) -> float | None:
        return statistics.median(each[name] for each in stages) if name in stages[0] else None

    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    rows = [
        (name, shown(median(figures.our_stages, name)), shown(median(figures.bare_stages, name))) for name in STAGES
    ]
    total = statistics.median(each["total"] for each in figures.our_stages)
    rows.append(("client, transport, registry", shown(statistics.median(figures.ours) * 1000 - total), ""))
    rows.append(("... gRPC alone, the same bytes", shown(statistics.median(figures.echo) * 1000), ""))
    return Table("median of each stage, ms", ("stage", "Bloomery", "bare"), rows)


def main() -> None:
    """Measure and report."""
    chosen = options("Predict", rounds=5)
    with scratch() as place:
        figures = measure(place, chosen)
    images = len(figures.ours) // chosen.rounds
    report("predict", [speed_table(figures, images), stage_table(figures)], chosen)


if __name__ == "__main__":
    main()
