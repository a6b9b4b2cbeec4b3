"""A training job beside the `yolo` command with the same data and arguments: time per epoch, and to the first step."""

import csv
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from bloomery import Client, DatasetVersion
from bloomery.training.v1 import JOB_KIND_TRAIN, CreateJobRequest, Job, JobServiceStub, Resources
from harness.data import WEIGHTS, blood_cells, sample, weights
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.peer import Value, Yolo, effective, milestones, threads
from harness.server import Server, running_server, scratch

EPOCHS = 3
SIDE = 160
EPOCH_LIMIT = 1.05
FIRST_STEP_LIMIT = 10.0


@dataclass(frozen=True)
class Run:
    """Seconds: of an epoch without the first, and from the order to the training's start; validation's mAP50 at last.

    `marks` are seconds from the order to what happened on the way.
    """

    epoch: float
    start: float
    map50: float
    marks: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """What is trained: a dataset version, its export, and the arguments."""

    version: DatasetVersion
    data: Path
    settings: Mapping[str, Value]
    base: str


def prepare(client: Client, place: Path, chosen: Options) -> Training:
    """Bring the data in, and write them down for the peer."""
    project = client.create_project("cells")
    project.import_folder(sample(place / "sample", 40) if chosen.quick else blood_cells())
    split = "70/20/10" if chosen.quick else "official"
    version = project.build_dataset("cells-v", split=split).wait()
    data = version.export("yolo", place / "yolo") / "data.yaml"
    settings = {"epochs": 2 if chosen.quick else EPOCHS, "imgsz": SIDE, "batch": 16}
    return Training(version, data, settings, WEIGHTS if weights() else "scratch")


def ordered(server: Server, training: Training, cpus: int) -> Job:
    """Create the job with its share of the machine, which the client leaves to the recipe."""
    job = Job(
        kind=JOB_KIND_TRAIN,
        recipe="recipes/yolo-detect",
        dataset_version=training.version.name,
        base=training.base,
        resources=Resources(cpus=cpus),
    )
    job.parameters.update(training.settings)
    parent = training.version.name.partition("/datasets/")[0]
    with grpc.insecure_channel(server.endpoint) as channel:
        created: Job = JobServiceStub(channel).CreateJob(
            CreateJobRequest(parent=parent, job=job), metadata=(("authorization", f"Bearer {server.token}"),)
        )
    return created


def ours(server: Server, client: Client, training: Training, cpus: int) -> tuple[Run, Job]:
    """Run the job and read its times from its events."""
    began = time.time()
    job = client.job(ordered(server, training, cpus).name)
    events = list(job.watch())
    ends = [one.time.timestamp() for one in events if one.proto.metrics.epoch_end]
    marks = {name: at - began for name, at in milestones(events).items()}
    return Run(per_epoch(ends), marks["first step"], job.check().metrics["val/map50"], marks), job.proto


def bare(training: Training, job: Job, place: Path) -> Run:
    """Run the peer with the job's effective parameters."""
    found = weights()
    began = time.monotonic()
    lines = Yolo(place).run(
        "detect",
        "train",
        **effective(job),
        model=str(found or "yolov8n.yaml"),
        data=str(training.data),
        name="run",
        plots=False,
        verbose=False,
    )
    started = [line.at - began for line in lines if line.text.startswith("Starting training")]
    with (place / "run" / "results.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    return Run(
        per_epoch([float(epoch["time"]) for epoch in table]), started[0], float(table[-1]["metrics/mAP50(B)"]), {}
    )


def per_epoch(ends: Sequence[float]) -> float:
    """Mean seconds of the epochs after the first, by the times when epochs ended."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


@dataclass(frozen=True)
class Figures:
    """Runs of each round: the job with as many threads as the peer takes, with all cores, and the peer."""

    equal: list[Run]
    full: list[Run]
    bare: list[Run]


def measure(place: Path, chosen: Options) -> Figures:
    """Interleave jobs and the peer."""
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    figures = Figures([], [], [])
    with running_server(place, settings) as server, server.client() as client:
        training = prepare(client, place, chosen)
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            run, job = ours(server, client, training, threads())
            figures.equal.append(run)
            figures.bare.append(bare(training, job, place))
            figures.full.append(ours(server, client, training, 0)[0])
    return figures


def epoch_table(figures: Figures) -> Table:
    """Time per epoch and to the first step."""
    theirs = figures.bare

    def row(name: str, runs: list[Run]) -> tuple[str, ...]:
        beside = median_and_range(ratios([one.epoch for one in runs], [one.epoch for one in theirs]), 3)
        later = [one.start - other.start for one, other in zip(runs, theirs, strict=True)]
        return (
            name,
            median_and_range([one.epoch for one in runs]),
            beside,
            median_and_range([one.start for one in runs], 1),
            median_and_range(later, 1),
            f"{statistics.median(one.map50 for one in runs):.3f}",
        )

    rows = [
        row("`yolo train`", theirs),
        row(f"a job with its {threads()} thread(s)", figures.equal),
        row("a job as it comes", figures.full),
    ]
    columns = ("what", "s/epoch", "ratio", "first step (s)", "later (s)", "val mAP50")
    note = f"Limits: ratio {EPOCH_LIMIT} with the same number of threads, {FIRST_STEP_LIMIT:g} s later."
    title = f"YOLOv8n, {SIDE} px, {len(theirs)} interleaved rounds, median (range)"
    return Table(title, columns, rows, note)


def start_table(figures: Figures) -> Table:
    """Where the seconds before the first step go."""
    runs = figures.equal
    rows = [(meaning, median_and_range([one.marks[name] for one in runs], 1)) for name, meaning in MEANING.items()]
    title = "a job with equal threads on the way to its first step, seconds after the order"
    note = "A job that is ordered right after another one's end waits until that one's worker has left the machine."
    return Table(title, ("what", "median (range)"), rows, note)


MEANING = {
    "QUEUED": "the reconciler launches the worker",
    "PREPARING": "the supervisor has begun the attempt",
    "preparing": "torch is loaded, the recipe begins",
    "preflight": "model and data loaders are ready, the preflight begins",
    "checked": "the preflight is done",
    "first step": "the first step is done",
}


def main() -> None:
    """Measure and report."""
    chosen = options("training jobs", rounds=5)
    with scratch() as place:
        figures = measure(place, chosen)
    report("train", [epoch_table(figures), start_table(figures)], chosen)


if __name__ == "__main__":
    main()
