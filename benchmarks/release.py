"""A release on the cluster of KUBECONFIG: how soon it is there, how soon it trains, and how fast it predicts."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bloomery import Client, Deployment
from harness import beside_triton, first_step
from harness.beside_triton import Limits, bare, compare
from harness.data import sample
from harness.first_step import Start
from harness.measure import Options, Table, options, report, say
from harness.replicas import images, make_versions
from tests.cluster.conftest import namespace
from tests.cluster.installing import IMAGES, Installation, needs_images, planned

FIRST_STEP_LIMIT = 10.0
# What the tests of a release leave a service is too little to compute with.
INFERENCE = {
    "resources": {"requests": {"cpu": "250m"}},
    "environment": {"BLOOMERY_RUNNING_PREDICTIONS": str(beside_triton.PARALLEL)},
}
PREDICT_LIMITS = Limits(one=1.35, many=0.9)
ROUNDS = 3


@dataclass(frozen=True)
class Arrival:
    """Seconds from the order to install until everything is ready, and until `helm test` has passed."""

    installed: float
    tested: float


def install(release: Installation) -> Arrival:
    """Install and test."""
    began = time.monotonic()
    release.succeeds(release.put("install", "--atomic"))
    installed = time.monotonic() - began
    say(f"installed after {installed:.0f} s")
    release.succeeds(release.helm("test", "--timeout", "15m"))
    return Arrival(installed, time.monotonic() - began)


def train(release: Installation, client: Client, place: Path, chosen: Options) -> tuple[list[Start], list[Start]]:
    """Jobs and pods made by hand in turns."""
    project = client.create_project("first-step")
    project.import_folder(sample(place / "sample", 20))
    version = project.build_dataset("cells", split="70/20/10").wait()
    first_step.bring_data(release.cluster, version.export("yolo", place / "yolo"))
    jobs, hands = [], []
    for number in range(1 if chosen.quick else ROUNDS):
        say(f"first step, round {number + 1}")
        start, job = first_step.of_job(client, version)
        jobs.append(start)
        hands.append(first_step.by_hand(release.cluster, first_step.template(release.cluster, job), job))
    return jobs, hands


def predict(release: Installation, client: Client, place: Path, chosen: Options) -> beside_triton.Figures:
    """Through the endpoint, and to the pod of the same Triton server."""
    (version,) = make_versions(client, place, 1)
    deployment: Deployment = client.deploy("door", version.name, runtime="triton").wait()
    address = release.cluster.kubectl("get", "pod", f"{release.name}-triton-0", "-o", "jsonpath={.status.podIP}")
    beside = bare(f"{address}:8001", deployment.proto.serving.uid)
    return compare(deployment.predict, beside, images(place), chosen)


def arrival_table(arrival: Arrival) -> Table:
    """How soon it is there."""
    rows = [
        ("`helm install --wait --atomic`", f"{arrival.installed:.0f}"),
        ("and `helm test`, with its training", f"{arrival.tested:.0f}"),
    ]
    return Table("a release on a node that has nothing but its images", ("until it has succeeded", "s"), rows)


def measure(place: Path, chosen: Options) -> list[Table]:
    """One release for all of it."""
    with namespace("bench") as cluster:
        needs_images(cluster, *IMAGES.values())
        release = planned(cluster, place, {"services": {"inference": INFERENCE}})
        arrival = install(release)
        os.environ |= release.environment()
        with Client() as client:
            predictions = predict(release, client, place, chosen)
            jobs, hands = train(release, client, place, chosen)
    return [
        arrival_table(arrival),
        *first_step.tables(jobs, hands, FIRST_STEP_LIMIT),
        beside_triton.table(predictions, PREDICT_LIMITS, " of a release"),
    ]


def main() -> None:
    """Measure and report."""
    chosen = options("A release on a cluster", rounds=5)
    with tempfile.TemporaryDirectory() as place:
        report("release", measure(Path(place), chosen), chosen)


if __name__ == "__main__":
    main()
