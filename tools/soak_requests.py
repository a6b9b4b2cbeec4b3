"""Ask every method of every service for nonsense, on a server that has one of everything, and write down what it said.

`make soak-requests REQUESTS=10000`. `--seed` draws the same again as long as the answers are the same.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil

from bloomery import Client
from bloomery.inference.v1 import PredictRequest, PredictStreamRequest
from bloomery.training.v1 import JOB_KIND_TRAIN, CreateJobRequest, Job, StartAttemptRequest, WorkerServiceStub
from harness.measure import Table
from soaking import ROOT, add_write, place, write_down
from tests.faults.processes import Server
from tests.faults.sites import embedded
from tests.nonsense import Asker, Memory, Questions, questions

MIB = 1 << 20
DATASET = "projects/cells/datasets/cells-v/versions/1"
MODEL = "projects/cells/models/cells/versions/1"
PREDICTIONS = "bloomery.inference.v1.PredictionService"
_AT_ONCE = 500
_WARM = 0.2
"""Part of the requests after which memory should not grow any more."""
_CODES = (
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "ABORTED",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
)


def main() -> int:
    """Play, and write down; 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the requests; by default the time")
    add_write(parser)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with place() as folder:
        site = Path(folder)
        (site / "data").mkdir()
        with running(site, {}):
            fill(site)
        script(site)
        with running(site, {"BLOOMERY_LAUNCHER__WORKER_PYTHON": str(site / "python")}) as server:
            asking, growth = asyncio.run(play(site, server.pid, given.requests, given.seed))
        problems = [*asking.asked.problems, *logged(site)]
    for problem in problems:
        print(f"-- {problem}")
    write_down("requests", [table(asking, given.seed, growth, len(problems))], write=given.write)
    return 1 if problems else 0


@contextmanager
def running(site: Path, settings: dict[str, str]) -> Iterator[Server]:
    """`bloomery up`, while the block runs."""
    server = embedded(site, settings)
    server.start()
    try:
        yield server
    finally:
        server.end()


def fill(site: Path) -> None:
    """One of everything: a training, what its model says of images, an evaluation, suggestions, a deployment."""
    about = json.loads((site / "data/server.json").read_text())
    with Client(about["endpoint"], token=about["token"], project="cells") as client:
        project = client.create_project("cells")
        project.import_folder(ROOT / "examples/blood-cells")
        dataset = project.build_dataset("cells-v", split="official").wait()
        trained = dataset.train("yolo-detect", base="scratch", model="cells", epochs=1, imgsz=64, batch=8).wait()
        model = trained.model_version()
        model.evaluate(dataset).wait()
        model.predict_project(suggest=True, confidence=0.001).wait()
        client.deploy("door", model.name).wait()


def script(site: Path) -> None:
    """A worker that tells its recipes, and does nothing but leave its token."""
    python = ROOT / ".venv-worker/bin/python"
    lines = (
        "#!/bin/sh",
        f'case "$*" in *catalogue*) exec {python} "$@";; esac',
        f'printf %s "$BLOOMERY_ATTEMPT_TOKEN" > {site}/token',
        "exec sleep 30",
    )
    (site / "python").write_text("\n".join(lines))
    (site / "python").chmod(0o755)


async def play(site: Path, pid: int, requests: int, seed: int) -> tuple[Questions, int]:
    """Ask so often; also how many bytes the server's memory grew by once it was warm."""
    about, identity = (json.loads((site / "data" / name).read_text()) for name in ("server.json", "identity.json"))
    process, warm, workers = psutil.Process(pid), 0, f"127.0.0.1:{identity['worker_port']}"
    async with grpc.aio.insecure_channel(about["endpoint"]) as people, grpc.aio.insecure_channel(workers) as worker:
        asking = await questions(people, worker, about["token"], Memory(random.Random(seed)))  # noqa: S311 - no secrets
        await asking.look_around()
        picture = (ROOT / "examples/blood-cells/JPEGImages/BloodImage_00007.jpg").read_bytes()
        asking.mean(f"{PREDICTIONS}.Predict", PredictRequest(model_version=MODEL, image=picture, threshold=0.001))
        asking.mean(f"{PREDICTIONS}.PredictStream", PredictStreamRequest(options=PredictRequest(model_version=MODEL)))
        job = Job(kind=JOB_KIND_TRAIN, recipe="recipes/yolo-detect", dataset_version=DATASET)
        asking.mean("bloomery.training.v1.JobService.CreateJob", CreateJobRequest(parent="projects/cells", job=job))
        for done in range(0, requests, _AT_ONCE):
            await asking.play(min(_AT_ONCE, requests - done))
            await take_up(site, asking)
            now = process.memory_info().rss
            said = f"{now // MIB} MiB, {len(asking.asked.problems)} problems"
            print(f"{time.strftime('%H:%M:%S')} {done + _AT_ONCE} asked, {said}", flush=True)
            warm = warm or (now if done + _AT_ONCE >= requests * _WARM else 0)
        return asking, process.memory_info().rss - warm


async def take_up(site: Path, asking: Questions) -> None:
    """Let who asks as a worker be one, where there is a new attempt."""
    try:
        token = (site / "token").read_text()
    except FileNotFoundError:
        return
    (site / "token").unlink()
    asker: Asker = asking.askers["bloomery.training.v1.WorkerService.StartAttempt"]
    stub = WorkerServiceStub(asker.channel)
    try:
        started = await stub.StartAttempt(StartAttemptRequest(token=token, worker_id="nonsense"))
    except grpc.aio.AioRpcError as error:
        print(f"no attempt: {error.details()}", flush=True)
        return
    asker.token = started.secret
    asker.memory.take_in(started)


def logged(site: Path) -> list[str]:
    """What the server logged as an error."""
    lines = (site / "data/server.log").read_text().splitlines()
    return [line for line in lines if '"ERROR"' in line or "Traceback" in line]


def table(asking: Questions, seed: int, growth: int, problems: int) -> Table:
    """One row for each service, and one for all."""
    services = sorted({method.containing_service.full_name for method in asking.methods})
    rows = [_row(service.rpartition(".")[2], asking, [service]) for service in services]
    title = f"Requests that nobody means, seed {seed}: {problems} answered wrong"
    grown = f"{growth / MIB:+.0f} MiB of memory after the first fifth"
    head = ("service", "methods", "answered at least once", "requests", *_CODES, "others")
    return Table(f"{title}, {grown}", head, [*rows, _row("all", asking, services)])


def _row(title: str, asking: Questions, services: Sequence[str]) -> Sequence[str]:
    methods = [method.full_name for method in asking.methods if method.containing_service.full_name in services]
    answers = sum((asking.asked.of(service) for service in services), start=asking.asked.of(""))
    answered = sum(bool(asking.asked.answers[method, "OK"]) for method in methods)
    counts = [answers[code] for code in _CODES]
    return (title, *map(str, (len(methods), answered, answers.total(), *counts, answers.total() - sum(counts))))


if __name__ == "__main__":
    sys.exit(main())
