"""The evaluation of detections beside pycocotools and faster-coco-eval, which tell the same average precisions."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data import real_data, weights
from harness.measure import ROOT, Options, Table, median_and_range, options, ratios, report, say
from harness.peer import installed
from harness.server import scratch

PEERS = {"pycocotools": "2.0.11", "faster-coco-eval": "1.8.0"}
HARNESS = Path(__file__).parent / "harness"
IMAGES, MORE = 5_000, 50_000
OURS = "Bloomery"
_AGREE = 1e-6


@dataclass
class Figures:
    """What each took, by name: seconds of the processor in each round, and the last peak of memory in MiB."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    objects: int = 0
    found: int = 0


def real_rows(place: Path) -> Path:
    """What a YOLOv8n sees on the photographs of coco-tiny, and what is on them."""
    data, model = real_data(), weights()
    if data is None or model is None:
        raise SystemExit("the photographs and the weights are needed: BLOOMERY_TEST_DATA")
    target = place / "seen.npz"
    python = ROOT / ".venv-worker" / "bin" / "python"
    # Threads that wait for each other take most of the time where others use the machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, HARNESS / "seen.py", model, data / "coco-tiny", target]
    subprocess.run(command, check=True, env=environment)
    return target


def repeated(source: Path, target: Path, count: int) -> tuple[int, int]:
    """The same for `count` images: each real one again and again, its detections moved a little each time.

    Corners move by normal noise of 2 % of the box's size, scores by noise of 2 %. Returns how many objects and
    detections there are.
    """
    content = np.load(source)
    random = np.random.default_rng(0)
    real = int(content["found"][:, 0].max()) + 1
    objects, found = (_again(content[name], real, count) for name in ("objects", "found"))
    size = np.tile(found[:, 3:5] - found[:, 1:3], 2)
    found[:, 1:5] += random.normal(0, 0.02, size.shape) * size
    found[:, 6] = np.clip(found[:, 6] * random.normal(1, 0.02, len(found)), 0, 1)
    np.savez(target, objects=objects, found=found.astype(np.float32), classes=content["classes"], images=count)
    return len(objects), len(found)


def _again(table: NDArray[np.float64], real: int, count: int) -> NDArray[np.float64]:
    """The rows of the `real` images again and again, until there are `count` images."""
    of_image = np.split(table, np.searchsorted(table[:, 0], np.arange(1, real)))
    parts = [of_image[image % real] for image in range(count)]
    rows = np.concatenate(parts)
    rows[:, 0] = np.repeat(np.arange(count), [len(part) for part in parts])
    return rows


def run(command: list[str | Path]) -> dict[str, float]:
    """What a measurement prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def measure(chosen: Options, place: Path) -> Figures:
    """Ours and the peers in turns on the same detections; ours alone on ten times as many images."""
    figures, source = Figures(), real_rows(place)
    scale = 10 if chosen.quick else 1
    few, many = place / "few.npz", place / "many.npz"
    figures.objects, figures.found = repeated(source, few, IMAGES // scale)
    repeated(source, many, MORE // scale)
    pythons = {name: installed(place / name, f"{name}=={version}") for name, version in PEERS.items()}
    for number in range(chosen.rounds):
        say(f"round {number + 1} of {chosen.rounds}")
        told = {OURS: run([sys.executable, HARNESS / "evaluated.py", few])}
        told |= {name: run([python, HARNESS / "evaluators.py", name, few]) for name, python in pythons.items()}
        means = [one["map50_95"] for one in told.values()]
        if max(means) - min(means) > _AGREE:
            raise SystemExit(f"they do not agree: {means}")
        told[f"{OURS}, ten times as many images"] = run([sys.executable, HARNESS / "evaluated.py", many])
        for name, one in told.items():
            figures.seconds.setdefault(name, []).append(one["processor"])
            figures.peak[name] = one["peak"]
    return figures


def tables(figures: Figures, chosen: Options) -> list[Table]:
    """What was measured."""
    own = figures.seconds[OURS]
    rows = [
        (
            f"{name} {PEERS[name]}" if name in PEERS else name,
            median_and_range(seconds),
            median_and_range(ratios(seconds, own), 1),
            f"{figures.peak[name]:.0f}",
        )
        for name, seconds in figures.seconds.items()
    ]
    images = IMAGES // 10 if chosen.quick else IMAGES
    title = f"{images:,} images, {figures.objects:,} objects, {figures.found:,} detections, {_rounds(chosen.rounds)}"
    note = "Seconds of the processor; the memory is the peak of a process with all that it was given."
    return [Table(title, ("what", "s", "time / ours", "MiB"), rows, note)]


def _rounds(count: int) -> str:
    return "1 round" if count == 1 else f"{count} rounds"


def main() -> None:
    """Measure and report."""
    chosen = options("evaluation of detections", rounds=3)
    with scratch() as place:
        figures = measure(chosen, place)
    report("evaluate", tables(figures, chosen), chosen)


if __name__ == "__main__":
    main()
