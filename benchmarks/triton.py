"""Predict through a Triton server, beside its bare client with the same steps, on the same model and images."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import tritonclient.grpc

from bloomery import Deployment
from bloomery_vision.images import decode
from bloomery_vision.postprocess import decode_detections
from bloomery_vision.preprocess import letterbox
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
from harness.replicas import SIDE, images, make_versions, replicas
from harness.server import running_server, scratch
from real_parts.triton import triton_program

PARALLEL = 16
WARM = 5
SET = 60
Predict = Callable[[bytes], object]


@dataclass
class Figures:
    """Seconds of each image, and of whole sets with many clients at once."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    ours_together: list[float] = field(default_factory=list)
    bare_together: list[float] = field(default_factory=list)
    together: int = 0
    """Images of a set."""


def bare(target: str, uid: str) -> Predict:
    """Predict with the least that it takes: the same steps by the same functions in this process."""
    client = tritonclient.grpc.InferenceServerClient(target)

    def predict(image: bytes) -> object:
        framed, transform = letterbox(decode(image), (SIDE, SIDE))
        tensor = tritonclient.grpc.InferInput("images", [1, SIDE, SIDE, 3], "UINT8")
        tensor.set_data_from_numpy(framed[None])
        raw = client.infer(uid, [tensor]).as_numpy("output0")
        return transform.to_original(decode_detections(raw[0]).boxes)

    return predict


def timed(predict: Predict, image: bytes, seconds: list[float]) -> None:
    """Predict once and keep how long it took."""
    started = time.perf_counter()
    predict(image)
    seconds.append(time.perf_counter() - started)


def together(predict: Predict, seen: Sequence[bytes]) -> float:
    """Seconds for all images, many at once."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        started = time.perf_counter()
        list(pool.map(predict, seen))
        return time.perf_counter() - started


def compare(ours: Predict, beside: Predict, seen: Sequence[bytes], chosen: Options) -> Figures:
    """Interleave image by image, then set by set."""
    figures = Figures(together=PARALLEL if chosen.quick else SET)
    many = [seen[number % len(seen)] for number in range(figures.together)]
    for image in seen[:WARM]:
        ours(image)
        beside(image)
    for number in range(chosen.rounds):
        say(f"round {number + 1} of {chosen.rounds}")
        for image in seen:
            timed(ours, image, figures.ours)
            timed(beside, image, figures.bare)
        figures.ours_together.append(together(ours, many))
        figures.bare_together.append(together(beside, many))
    return figures


def measure(place: Path, chosen: Options) -> Figures:
    """One Triton server for both."""
    settings = {"BLOOMERY_RUNNING_PREDICTIONS": str(PARALLEL)}
    with running_server(place, settings) as server, server.client() as client:
        (version,) = make_versions(client, place, 1)
        seen = images(place)
        with replicas(server, triton_program(place), place, 1) as (target,):
            deployment: Deployment = client.deploy("door", version.name, runtime="triton").wait()
            return compare(deployment.predict, bare(target, deployment.proto.serving.uid), seen, chosen)


def table(figures: Figures) -> Table:
    """One image after the other, and many at once."""

    def row(name: str, each: list[float], sets: list[float]) -> tuple[str, ...]:
        rates = median_and_range([figures.together / one for one in sets], 1)
        return name, milliseconds(statistics.median(each)), milliseconds(percentile(each, 95)), rates

    rows = [
        row("Bloomery, Predict of a deployment", figures.ours, figures.ours_together),
        row("bare tritonclient, same steps", figures.bare, figures.bare_together),
    ]
    beside = statistics.median(ratios(figures.ours, figures.bare))
    throughput = statistics.median(ratios(figures.bare_together, figures.ours_together))
    note = (
        f"Bloomery takes {beside:.2f} times as long as the bare client (median of {len(figures.ours)} interleaved"
        f" pairs), and with {PARALLEL} clients answers {throughput:.2f} times as many images. Limits: 1.25, and 0.95."
    )
    columns = ("what", "p50", "p95", f"images/s, {PARALLEL} at once")
    return Table(f"one 640x480 JPEG to boxes through one Triton server, YOLOv8n at {SIDE} px", columns, rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("Predict through Triton", rounds=5)
    with scratch() as place:
        figures = measure(place, chosen)
    report("triton", [table(figures)], chosen)


if __name__ == "__main__":
    main()
