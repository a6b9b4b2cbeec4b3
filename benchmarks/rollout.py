"""A new version on three Triton servers, under a load of predictions: how long until it answers, and what fails."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from bloomery import BloomeryError, Deployment
from harness.measure import Options, Table, median_and_range, milliseconds, options, percentile, report, say
from harness.replicas import images, make_versions, replicas
from harness.server import running_server, scratch
from real_parts.triton import triton_program

REPLICAS = 3
CLIENTS = 4
STEADY_SECONDS = 10.0
DRAIN_SECONDS = 2.0
"""What has left the plan is unloaded soon, so that each rollout loads its version anew."""


@dataclass
class Load:
    """Predictions of several clients, one after the other: seconds of each answer, the versions, and what failed."""

    seconds: list[float] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def running(self, deployment: Deployment, image: bytes) -> Iterator[None]:
        """Predict while the block runs."""
        stop = Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [pool.submit(self._ask, deployment, image, stop) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                stop.set()
        for each in asking:
            each.result()

    def _ask(self, deployment: Deployment, image: bytes, stop: Event) -> None:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                answer = deployment.predict(image)
            except BloomeryError as error:
                self.failures.append(str(error))
            else:
                self.seconds.append(time.perf_counter() - started)
                self.versions.append(answer.proto.model_version)


@dataclass
class Figures:
    """What was seen of rollouts, and while nothing changed."""

    steady: Load = field(default_factory=Load)
    meanwhile: Load = field(default_factory=Load)
    converged: list[float] = field(default_factory=list)


def roll_out(deployment: Deployment, version: str, image: bytes, figures: Figures) -> None:
    """Bring a version in under load, from the order until every replica has it and it answers."""
    with figures.meanwhile.running(deployment, image):
        started = time.monotonic()
        deployment.update(version).wait()
        figures.converged.append(time.monotonic() - started)
    answered = deployment.predict(image).proto.model_version
    if answered != version:
        raise SystemExit(f"{answered} answers after the rollout of {version}")


def measure(place: Path, chosen: Options) -> Figures:
    """Steady load first, then rollouts, back and forth between two versions."""
    figures = Figures()
    program = triton_program(place)
    settings = {"BLOOMERY_DRAIN_SECONDS": str(DRAIN_SECONDS)}
    with running_server(place, settings) as server, server.client() as client:
        versions = [version.name for version in make_versions(client, place, 2)]
        image = images(place)[0]
        with replicas(server, program, place, REPLICAS):
            deployment = client.deploy("door", versions[0], runtime="triton").wait()
            deployment.predict(image)
            with figures.steady.running(deployment, image):
                time.sleep(2.0 if chosen.quick else STEADY_SECONDS)
            for number in range(chosen.rounds):
                say(f"rollout {number + 1} of {chosen.rounds}")
                roll_out(deployment, versions[(number + 1) % 2], image, figures)
                # Until what served before is unloaded everywhere.
                time.sleep(DRAIN_SECONDS + 3.0)
    return figures


def table(figures: Figures) -> Table:
    """What clients and operators notice."""

    def latency(load: Load) -> tuple[str, str]:
        return milliseconds(statistics.median(load.seconds)), milliseconds(percentile(load.seconds, 95))

    def row(name: str, load: Load) -> tuple[str, ...]:
        return name, str(len(load.seconds)), str(len(load.failures)), *latency(load)

    rows = [row("nothing changes", figures.steady), row("during rollouts", figures.meanwhile)]
    note = (
        f"From the order until every replica has the version and it answers: {median_and_range(figures.converged)} s,"
        f" over {len(figures.converged)} rollouts. Limit: no request fails."
    )
    columns = (f"{CLIENTS} clients, YOLOv8n at 320 px", "answered", "failed", "p50", "p95")
    return Table(f"a new version on {REPLICAS} Triton servers of one machine", columns, rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("Rollout", rounds=6)
    with scratch() as place:
        figures = measure(place, chosen)
    report("rollout", [table(figures)], chosen)
    if failures := figures.steady.failures + figures.meanwhile.failures:
        raise SystemExit(f"{len(failures)} requests failed: {failures[0]}")


if __name__ == "__main__":
    main()
