"""Runs a model and nothing else, and writes what that takes: `python -m bloomery_worker.trial RUNTIME FILE 2 640x640`.

A process of its own, because nothing else tells what memory a model takes, and because what a training has left behind
would change the times.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bloomery_worker.predictor import Predictor
from bloomery_worker.runners import opener

Clock = Callable[[], float]
WARM_UP = 3
RUNS = 30
BATCH = 8
BATCHES = 8
SECONDS = 20.0
"""About how long one measurement takes at most: large models run less often."""


def main(runtime: str, path: str, threads: str, size: str) -> None:
    """Measures a file; `size` is HEIGHTxWIDTH of its input."""
    runner = opener(runtime)(Path(path), threads=int(threads))
    height, width = map(int, size.split("x"))
    images = np.random.default_rng(0).integers(0, 256, (BATCH, height, width, 3), dtype=np.uint8)
    sys.stdout.write(json.dumps({**times(runner, images), "peak_memory_bytes": peak_memory()}))


def times(runner: Predictor, images: NDArray[np.uint8], *, clock: Clock = time.perf_counter) -> dict[str, float]:
    """Milliseconds for one image, and images a second in batches of all `images`."""
    single = taken(runner, images[:1], RUNS, clock)
    p50, p95 = np.percentile(single * 1000, [50, 95])
    many = taken(runner, images, BATCHES, clock)
    return {
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "runs": len(single),
        "images_per_second": len(images) / float(np.median(many)),
        "batch_size": len(images),
    }


def taken(runner: Predictor, batch: NDArray[np.uint8], most: int, clock: Clock) -> NDArray[np.float64]:
    """Seconds that each of up to `most` runs takes, once it is warm."""
    found: list[float] = []
    for run in range(-WARM_UP, most):
        started = clock()
        runner(batch)
        if run >= 0:
            found.append(clock() - started)
        if sum(found) > SECONDS:
            break
    return np.array(found)


def peak_memory() -> int:
    """Most memory that this process has held, bytes."""
    # What `getrusage` says is at least what the process that started this one has held.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
