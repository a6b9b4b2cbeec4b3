"""Triton servers with an agent beside each, and models that are deployed on them."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bloomery import Client, ModelVersion
from bloomery_server.triton import triton_command
from harness.data import WEIGHTS, sample, weights
from harness.measure import say
from harness.server import Server
from real_parts.process import answers, free_port, running

SIDE = 320


def for_training() -> dict[str, str]:
    """What a server needs so that trainings find their base weights."""
    found = weights()
    return {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}


def train_versions(client: Client, place: Path, count: int) -> list[ModelVersion]:
    """Versions of one model, each trained for a moment and with a variant that Triton loads."""
    project = client.create_project("cells")
    project.import_folder(sample(place / "images", 20))
    data = project.build_dataset("cells-v", split="70/20/10").wait()
    settings = {"epochs": 1, "imgsz": SIDE, "batch": 8}
    versions = []
    for number in range(count):
        say(f"training version {number + 1} of {count}")
        job = data.train("yolo-detect", base=WEIGHTS if weights() else "scratch", model="cells", settings=settings)
        version = job.wait().model_version()
        version.optimize("onnx").wait()
        versions.append(version)
    return versions


@contextmanager
def triton_server(program: Path, place: Path) -> Iterator[str]:
    """A Triton server on the models in `place`; where it listens."""
    port = free_port()
    place.mkdir()
    metrics = free_port()
    command = [
        *(part for part in triton_command(program, place, port) if part != "--allow-metrics=false"),
        f"--metrics-port={metrics}",
    ]
    log = place.with_suffix(".triton.log")
    ready = f"http://127.0.0.1:{metrics}/metrics"
    with running(command, log=log, ready=lambda: answers(ready), environment=os.environ):
        yield f"127.0.0.1:{port}"


@contextmanager
def agent(server: Server, target: str, place: Path, name: str) -> Iterator[None]:
    """The agent that keeps the models of deployments in the Triton server at `target`, whose models lie in `place`."""
    port = free_port()
    environment = {
        **os.environ,
        "BLOOMERY_INFERENCE_TARGET": server.endpoint,
        "BLOOMERY_TOKEN": server.token,
        "BLOOMERY_TRITON_TARGET": target,
        "BLOOMERY_REPOSITORY": str(place),
        "BLOOMERY_ENDPOINT": target,
        "BLOOMERY_REPLICA_ID": name,
        "BLOOMERY_BIND": "127.0.0.1",
        "BLOOMERY_PORT": "0",
        "BLOOMERY_METRICS_PORT": str(port),
    }
    command = [sys.executable, "-m", "bloomery_inference.agent"]
    ready = f"http://127.0.0.1:{port}/metrics"
    log = place.with_suffix(".agent.log")
    with running(command, log=log, ready=lambda: answers(ready), environment=environment):
        yield


@contextmanager
def replicas(server: Server, program: Path, place: Path, count: int) -> Iterator[list[str]]:
    """So many Triton servers with their agents; where they listen."""
    with ExitStack() as stack:
        targets = []
        for number in range(count):
            folder = place / f"replica-{number}"
            target = stack.enter_context(triton_server(program, folder))
            stack.enter_context(agent(server, target, folder, folder.name))
            targets.append(target)
        yield targets
