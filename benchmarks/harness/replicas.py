"""Triton servers with an agent beside each, and models that are deployed on them."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bloomery import Client, ModelVersion
from bloomery_server.triton import triton_command
from harness.data import sample, weights
from harness.measure import say
from harness.server import Server
from real_parts.process import answers, free_port, running

SIDE = 320


def make_versions(client: Client, place: Path, count: int) -> list[ModelVersion]:
    """Versions of one model, each of its own uid, with a variant that Triton loads: the base weights, or trained."""
    project = client.create_project("cells")
    found = weights()
    if found is None:
        project.import_folder(sample(place / "sample", 20))
        project.build_dataset("cells-v", split="70/20/10").wait()
    versions = []
    for number in range(count):
        say(f"making version {number + 1} of {count}")
        if found is None:
            data, settings = client.dataset_version("cells-v@1"), {"epochs": 1, "imgsz": SIDE}
            job = data.train("yolo-detect", base="scratch", model="cells", settings=settings)
        else:
            job = project.import_model(found, model="cells", recipe="yolo-detect", imgsz=SIDE)
        version = job.wait().model_version()
        version.optimize("onnx").wait()
        versions.append(version)
    return versions


def images(place: Path) -> list[bytes]:
    """Some real images, encoded."""
    folder = sample(place / "images", 20) / "JPEGImages"
    return [path.read_bytes() for path in sorted(folder.iterdir())]


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
