"""Training with an augmentation policy of five transforms beside training without: time per epoch, and waiting."""

from dataclasses import dataclass
from pathlib import Path

from bloomery import Client, DatasetVersion
from harness.data import WEIGHTS, blood_cells, sample, weights
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.server import running_server, scratch

POLICY = "low_contrast,moves_or_vibrates,lighting=poor"
SIDE = 320
QUICK_SIDE = 160
LIMIT = 1.15


@dataclass(frozen=True)
class Run:
    """Seconds of an epoch without the first, and the share of it that the model waited for images."""

    epoch: float
    waited: float


def trained(version: DatasetVersion, policy: str, chosen: Options) -> Run:
    """Run a job and read its times from its events."""
    epochs, side = (2, QUICK_SIDE) if chosen.quick else (4, SIDE)
    job = version.train(
        "yolo-detect",
        base=WEIGHTS if weights() else "scratch",
        epochs=epochs,
        imgsz=side,
        batch=16,
        export="none",
        augment=policy,
    )
    ends = [event for event in job.watch() if event.proto.metrics.epoch_end]
    job.check()
    times = [event.time.timestamp() for event in ends]
    waits = [event.metrics["train/data_wait"] for event in ends[1:]]
    return Run((times[-1] - times[0]) / (len(times) - 1), sum(waits) / len(waits))


def measure(client: Client, place: Path, chosen: Options) -> tuple[list[Run], list[Run]]:
    """Interleave jobs without and with the policy."""
    project = client.create_project("cells")
    project.import_folder(sample(place / "sample", 40) if chosen.quick else blood_cells())
    version = project.build_dataset("cells-v", split="70/20/10" if chosen.quick else "official").wait()
    without, with_policy = [], []
    for number in range(chosen.rounds):
        say(f"round {number + 1} of {chosen.rounds}")
        without.append(trained(version, "", chosen))
        with_policy.append(trained(version, POLICY, chosen))
    return without, with_policy


def table(without: list[Run], with_policy: list[Run], side: int) -> Table:
    """What the policy adds."""

    def row(name: str, runs: list[Run]) -> tuple[str, ...]:
        beside = ratios([one.epoch for one in runs], [one.epoch for one in without])
        waited = median_and_range([one.waited for one in runs], 3)
        return name, median_and_range([one.epoch for one in runs]), median_and_range(beside, 3), waited

    rows = [row("no policy", without), row(f"`{POLICY}`", with_policy)]
    columns = ("what", "s/epoch", "ratio", "waited for images")
    note = f"Limit: ratio {LIMIT}. On a CPU no processes load images: waiting is the time of loading and changing them."
    return Table(f"yolo-detect, {side} px, {len(without)} interleaved rounds, median (range)", columns, rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("augmentation policies", rounds=3)
    found = weights()
    with scratch() as place:
        settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
        with running_server(place, settings) as server, server.client() as client:
            without, with_policy = measure(client, place, chosen)
    report("augment", [table(without, with_policy, QUICK_SIDE if chosen.quick else SIDE)], chosen)


if __name__ == "__main__":
    main()
