"""Predict of a deployment beside the bare client of the Triton server behind it, on the same model and images."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import tritonclient.grpc

from bloomery_vision.images import decode
from bloomery_vision.postprocess import decode_detections
from bloomery_vision.preprocess import letterbox
from harness.measure import Options, Table, median_and_range, milliseconds, percentile, ratios, say
from harness.replicas import SIDE

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


@dataclass(frozen=True)
class Limits:
    """How many times as long one client may take, and how many times as many images many must get answered."""

    one: float
    many: float


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
            _timed(ours, image, figures.ours)
            _timed(beside, image, figures.bare)
        figures.ours_together.append(_together(ours, many))
        figures.bare_together.append(_together(beside, many))
    return figures


def _timed(predict: Predict, image: bytes, seconds: list[float]) -> None:
    started = time.perf_counter()
    predict(image)
    seconds.append(time.perf_counter() - started)


def _together(predict: Predict, seen: Sequence[bytes]) -> float:
    with ThreadPoolExecutor(PARALLEL) as pool:
        started = time.perf_counter()
        list(pool.map(predict, seen))
        return time.perf_counter() - started


def table(figures: Figures, limits: Limits, where: str = "") -> Table:
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
        f" pairs), and with {PARALLEL} clients answers {throughput:.2f} times as many images."
        f" Limits: {limits.one:g}, and {limits.many:g}."
    )
    columns = ("what", "p50", "p95", f"images/s, {PARALLEL} at once")
    title = f"one 640x480 JPEG to boxes through one Triton server{where}, YOLOv8n at {SIDE} px"
    return Table(title, columns, rows, note)
