"""Ask every method of every service for nonsense, on a server that has one of everything, and write down what it said.

`make soak-requests REQUESTS=10000`, over each database. `--seed` plays it again as long as the answers are the same.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from minio import Minio

from bloomery import Client
from bloomery.inference.v1 import PredictRequest, PredictStreamRequest
from bloomery.training.v1 import JOB_KIND_TRAIN, CreateJobRequest, Job, StartAttemptRequest, WorkerServiceStub
from harness.measure import Table
from real_parts.minio import new_minio, run_minio
from real_parts.postgres import run_postgres
from real_parts.process import free_port
from soaking import ROOT, add_write, place, write_down
from tests.faults.processes import Server, answers
from tests.faults.sites import BUCKET, embedded
from tests.nonsense import Memory
from tests.questions import Asker, Questions, questions

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
    parser.add_argument("--requests", type=int, default=10_000, help="how many of each service (10000)")
    parser.add_argument("--database", choices=SITES, default="sqlite", help="under the services (sqlite)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="draws the requests; by default the time")
    add_write(parser)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with place() as folder, SITES[given.database](Path(folder)) as site:
        fill(site)
        (site.folder / "asleep").touch()
        asking, growth = asyncio.run(play(site, given.requests, given.seed))
        errors = logged(site)
    for line in errors:
        print(f"-- {line}")
    problems = len(asking.asked.problems) + len(errors)
    title = f"{TITLES[given.database]}, seed {given.seed}: {problems} answered wrong"
    write_down(f"requests-{given.database}", [table(asking, title, growth)], write=given.write)
    return 1 if problems else 0


@dataclass(frozen=True)
class Site:
    """All services in one process.

    Attributes:
        folder: for files; jobs are those of the worker in it, `script`.
        pid: of the process.
        log: what it logs.
    """

    folder: Path
    pid: int
    log: Path
    endpoint: str
    worker_endpoint: str
    token: str


@contextmanager
def on_sqlite(folder: Path) -> Iterator[Site]:
    """`bloomery up`."""
    (folder / "data").mkdir()
    server = embedded(folder, {"BLOOMERY_LAUNCHER__WORKER_PYTHON": str(script(folder))})
    with _running(server):
        about, own = (json.loads((folder / "data" / name).read_text()) for name in ("server.json", "identity.json"))
        workers = f"127.0.0.1:{own['worker_port']}"
        yield Site(folder, server.pid, folder / "data/server.log", about["endpoint"], workers, about["token"])


@contextmanager
def on_postgres(folder: Path) -> Iterator[Site]:
    """The same services over PostgreSQL and MinIO."""
    with run_postgres(folder) as postgres, run_minio(folder, new_minio()) as minio:
        Minio(minio.endpoint, minio.access_key, minio.secret_key, secure=False).make_bucket(BUCKET)
        port, workers = free_port(), free_port()
        own, token, log = f"127.0.0.1:{port}", secrets.token_hex(16), folder / "services.log"
        store = {
            "KIND": "s3",
            "ENDPOINT": f"http://{minio.endpoint}",
            "PUBLIC_ENDPOINT": f"http://{minio.endpoint}",
            "BUCKET": BUCKET,
            "ACCESS_KEY": minio.access_key,
            "SECRET_KEY": minio.secret_key,
        }
        settings = {
            "DATABASE_URL": postgres.url("postgres"),
            "TOKEN": token,
            "BIND": "127.0.0.1",
            "PORT": str(port),
            "WORKER_PORT": str(workers),
            "WORKER_TARGET": f"127.0.0.1:{workers}",
            "REFLECTION": "true",
            "CACHE_DIR": str(folder / "cache"),
            "LAUNCHER__JOBS_DIR": str(folder / "jobs"),
            "LAUNCHER__CACHE_DIR": str(folder / "cache/worker"),
            "LAUNCHER__WORKER_PYTHON": str(script(folder)),
            **{f"{service}_TARGET": own for service in ("ANNOTATION", "DATASET", "TRAINER")},
            **{f"OBJECT_STORE__{name}": value for name, value in store.items()},
        }
        environment = os.environ | {f"BLOOMERY_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "tests.faults.services", "trainer"]
        server = Server(command, environment, log, lambda: answers(own))
        with _running(server):
            yield Site(folder, server.pid, log, own, f"127.0.0.1:{workers}", token)


SITES = {"sqlite": on_sqlite, "postgres": on_postgres}
TITLES = {"sqlite": "`bloomery up`, over SQLite", "postgres": "All services in one process, over PostgreSQL and MinIO"}


@contextmanager
def _running(server: Server) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.end()


def fill(site: Site) -> None:
    """One of everything: a training, what its model says of images, an evaluation, suggestions, a deployment."""
    with Client(site.endpoint, token=site.token, project="cells") as client:
        project = client.create_project("cells")
        project.import_folder(ROOT / "examples/blood-cells")
        dataset = project.build_dataset("cells-v", split="official").wait()
        trained = dataset.train("yolo-detect", base="scratch", model="cells", epochs=1, imgsz=64, batch=8).wait()
        model = trained.model_version()
        model.evaluate(dataset).wait()
        model.predict_project(suggest=True, threshold=0.001).wait()
        client.deploy("door", model).wait()


def script(folder: Path) -> Path:
    """A worker that works until there is a file `asleep`, and then does nothing but leave its token."""
    python, target = ROOT / ".venv-worker/bin/python", folder / "python"
    lines = (
        "#!/bin/sh",
        f'[ -e {folder}/asleep ] || exec {python} "$@"',
        f'case "$*" in *catalogue*) exec {python} "$@";; esac',
        f'printf %s "$BLOOMERY_ATTEMPT_TOKEN" > {folder}/token',
        "exec sleep 30",
    )
    target.write_text("\n".join(lines))
    target.chmod(0o755)
    return target


async def play(site: Site, requests: int, seed: int) -> tuple[Questions, int]:
    """Ask each service so often; also how many bytes the process grew by once it was warm."""
    process, warm, told = psutil.Process(site.pid), 0, 0
    channels = grpc.aio.insecure_channel(site.endpoint), grpc.aio.insecure_channel(site.worker_endpoint)
    async with channels[0] as people, channels[1] as worker:
        asking = await questions(people, worker, site.token, Memory(random.Random(seed)))  # noqa: S311 - no secrets
        requests *= len(asking.services)
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
            print(f"{time.strftime('%H:%M:%S')} {done + _AT_ONCE} asked, {now // MIB} MiB", flush=True)
            for problem in asking.asked.problems[told:]:
                print(f"-- {problem}", flush=True)
            told = len(asking.asked.problems)
            warm = warm or (now if done + _AT_ONCE >= requests * _WARM else 0)
        return asking, process.memory_info().rss - warm


async def take_up(site: Site, asking: Questions) -> None:
    """Let who asks as a worker be one, where there is a new attempt."""
    try:
        token = (site.folder / "token").read_text()
    except FileNotFoundError:
        return
    (site.folder / "token").unlink()
    asker: Asker = asking.askers["bloomery.training.v1.WorkerService.StartAttempt"]
    stub = WorkerServiceStub(asker.channel)
    try:
        started = await stub.StartAttempt(StartAttemptRequest(token=token, worker_id="nonsense"))
    except grpc.aio.AioRpcError as error:
        print(f"no attempt: {error.details()}", flush=True)
        return
    asker.token = started.secret
    asker.memory.take_in(started)


def logged(site: Site) -> list[str]:
    """What the process logged as an error."""
    lines = site.log.read_text().splitlines()
    return [line for line in lines if '"ERROR"' in line or "Traceback" in line]


def table(asking: Questions, title: str, growth: int) -> Table:
    """One row for each service, and one for all."""
    rows = [_row(service.rpartition(".")[2], asking, [service]) for service in asking.services]
    grown = f"{growth / MIB:+.0f} MiB of memory after the first fifth"
    head = ("service", "methods", "answered at least once", "requests", *_CODES, "others")
    return Table(f"{title}, {grown}", head, [*rows, _row("all", asking, list(asking.services))])


def _row(title: str, asking: Questions, services: Sequence[str]) -> Sequence[str]:
    methods = [method.full_name for method in asking.methods if method.containing_service.full_name in services]
    answers = sum((asking.asked.of(service) for service in services), start=asking.asked.of(""))
    answered = sum(bool(asking.asked.answers[method, "OK"]) for method in methods)
    counts = [answers[code] for code in _CODES]
    return (title, *map(str, (len(methods), answered, answers.total(), *counts, answers.total() - sum(counts))))


if __name__ == "__main__":
    sys.exit(main())
