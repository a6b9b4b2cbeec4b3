"""Adapters beside full trainings of the same model: accuracy, time, memory and sizes, on three sets of images."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bloomery import Client, DatasetVersion
from harness.data import WEIGHTS, real_data, weights
from harness.measure import ROOT, Options, Table, median_and_range, options, report, say
from harness.server import running_server, scratch

SPLITS = {"blood-cells": "18/9/73", "raccoons": "32/16/52", "coco-tiny": "official"}
"""About 64 images to train on where there are so many; coco-tiny has 32, and 6 to validate."""
METHODS: Mapping[str, Mapping[str, str | float]] = {
    "full": {"method": "full"},
    "lora": {"method": "lora", "adapter": "lora"},
    "loha": {"method": "lora", "adapter": "loha"},
    "lokr": {"method": "lora", "adapter": "lokr"},
}
COMMON: Mapping[str, str | float] = {
    "epochs": 10, "imgsz": 192, "batch": 8, "nbs": 8, "lora_control": 0.0, "export": "none", "sample_predictions": 0,
}  # fmt: skip
POINT = 0.01
RUNS = ROOT / ".bench" / "lora.jsonl"
"""What was measured already, so that an interrupted measurement goes on."""


@dataclass(frozen=True)
class Run:
    """A training: seconds of an epoch without the first, and bytes at most and of files; mAP50 as measured at last."""

    data: str
    method: str
    seed: int
    map50: float
    epoch: float
    peak: int
    checkpoint: int
    model: int
    adapter: int


def runs(chosen: Options) -> Iterator[tuple[str, str, int]]:
    """Data, method and seed: the first seed of all methods first."""
    names = ["blood-cells"] if chosen.quick else list(SPLITS)
    for seed in range(chosen.rounds):
        for data in names:
            yield from ((data, method, seed) for method in METHODS)


def trained(version: DatasetVersion, data: str, method: str, seed: int, *, quick: bool) -> Run:
    """Run a job with one core and read its figures."""
    settings = {**COMMON, **METHODS[method], "seed": seed, **({"epochs": 2, "imgsz": 64} if quick else {})}
    job = version.train("yolo-detect", base=WEIGHTS if weights() else "scratch", cpus=1, settings=settings)
    events = list(job.watch())
    ends = [one.time.timestamp() for one in events if one.proto.metrics.epoch_end]
    files = {one.role: one.size_bytes for one in job.check().proto.result.artifacts}
    measured = job.metrics
    return Run(
        data=data,
        method=method,
        seed=seed,
        map50=measured.get("test/map50", measured["val/map50"]),
        epoch=(ends[-1] - ends[0]) / (len(ends) - 1),
        peak=max(one.proto.system.memory_bytes for one in events),
        checkpoint=max(one.proto.checkpoint.size_bytes for one in events),
        model=files["checkpoint"],
        adapter=files.get("adapter", 0),
    )


def measure(place: Path, chosen: Options) -> list[Run]:
    """Train what has not been trained yet."""
    done = [] if chosen.quick or not RUNS.exists() else [Run(**json.loads(line)) for line in RUNS.open()]
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    with running_server(place, settings) as server, server.client() as client:
        versions: dict[str, DatasetVersion] = {}
        for data, method, seed in runs(chosen):
            if any((one.data, one.method, one.seed) == (data, method, seed) for one in done):
                continue
            if data not in versions:
                versions[data] = built(client, data)
            run = trained(versions[data], data, method, seed, quick=chosen.quick)
            say(f"{data}, {method}, seed {seed}: mAP50 {run.map50:.3f}, {run.epoch:.1f} s an epoch")
            done.append(run)
            if not chosen.quick:
                RUNS.parent.mkdir(exist_ok=True)
                with RUNS.open("a") as file:
                    file.write(f"{json.dumps(asdict(run))}\n")
    return done


def built(client: Client, data: str) -> DatasetVersion:
    """A dataset version of a folder of labelled images."""
    folder = (real_data() or ROOT / "examples") / data
    project = client.create_project(data)
    project.import_folder(folder)
    return project.build_dataset(f"{data}-v", split=SPLITS[data], seed=7).wait()


def accuracy(done: Sequence[Run]) -> Table:
    """How good the models are."""

    def cell(data: str, method: str) -> str:
        found = [one.map50 for one in done if (one.data, one.method) == (data, method)]
        if not found:
            return "-"
        beside = statistics.median(one.map50 for one in done if (one.data, one.method) == (data, "full"))
        return f"{median_and_range(found, 3)}, {statistics.median(found) - beside:+.3f}, n={len(found)}"

    names = [name for name in SPLITS if any(one.data == name for one in done)]
    rows = [(name, *(cell(name, method) for method in METHODS)) for name in names]
    title = f"mAP50, median (range) of n seeds, and beside full; {COMMON['imgsz']} px, {COMMON['epochs']} epochs"
    return Table(title, ("data", *METHODS), rows, f"Wanted: at most {POINT:g} below the full training.")


def costs(done: Sequence[Run]) -> Table:
    """What trainings take and leave."""

    def row(method: str) -> tuple[str, ...]:
        own = [one for one in done if one.method == method]
        pairs = [(one, full) for one in own for full in done if full.method == "full" and beside(one, full)]
        epoch = [one.epoch / full.epoch for one, full in pairs]
        peak = [one.peak / full.peak for one, full in pairs]
        share = max(one.adapter / one.model for one in own)
        return (
            method,
            median_and_range(epoch),
            median_and_range(peak),
            f"{statistics.median(one.checkpoint for one in own) / 1e6:.1f} MB",
            f"{statistics.median(one.model for one in own) / 1e6:.1f} MB",
            f"{statistics.median(one.adapter for one in own) / 1e3:.0f} kB, {share:.1%}" if share else "-",
        )

    columns = ("method", "s/epoch, ratio", "peak memory, ratio", "a checkpoint", "`.pt`", "adapter, of the `.pt`")
    return Table("ratios to the full training of the same data and seed", columns, [row(one) for one in METHODS])


def beside(one: Run, other: Run) -> bool:
    """Whether two trained the same data with the same seed."""
    return (one.data, one.seed) == (other.data, other.seed)


def main() -> None:
    """Measure and report."""
    chosen = options("adapters", rounds=3)
    with scratch() as place:
        done = measure(place, chosen)
    report("lora", [accuracy(done), costs(done)], chosen)


if __name__ == "__main__":
    main()
