"""Two installations to hit: `bloomery up` on a folder, and two replicas of the trainer over PostgreSQL and MinIO."""

import hashlib
import json
import os
import re
import secrets
import sys
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from minio import Minio
from minio.error import S3Error

from bloomery import Client, Job, Timeouts
from bloomery.training.v1 import JOB_KIND_TRAIN, CreateJobRequest, GetJobRequest, JobServiceStub, Resources
from bloomery.training.v1 import Job as JobProto
from real_parts.minio import new_minio, run_minio
from real_parts.postgres import install_postgres
from real_parts.process import free_port
from tests.faults.processes import Part, Server, answers, eventually

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "bloomery"
_DIGEST = re.compile("[0-9a-f]{64}")
SCRIPTS = Path(sys.executable).parent
SMALL: Mapping[str, int | str] = {"imgsz": 64, "batch": 8, "patience": 0, "export": "none"}
# Nothing stays away for so long.
PATIENT = Timeouts(outage=3600.0)
# Everything that a user waits for, shortened; no mechanism is left out.
POLICY = {
    "BLOOMERY_POLICY__RECONCILE_INTERVAL": "0.5",
    "BLOOMERY_POLICY__LEASE_TERM": "3",
    "BLOOMERY_POLICY__LEASE_RENEW": "1",
    "BLOOMERY_POLICY__RETRY_DELAY": "0.5",
    "BLOOMERY_POLICY__EXIT_GRACE": "10",
    "BLOOMERY_REPORT_INTERVAL": "0.5",
    "BLOOMERY_MIN_FREE_BYTES": "0",
}


class Site(ABC):
    """An installation with a dataset version. `servers` are those of the trainer."""

    servers: Sequence[Server]
    jobs_dir: Path
    version: str

    @abstractmethod
    def train(self, model: str, epochs: int) -> Job:
        """Start a training that publishes under the id `model`."""

    @abstractmethod
    def recorded(self, job: Job, model: str) -> list[str]:
        """The job of each version of a model, once the model is recorded."""

    def leader(self) -> Server:
        """The replica that reconciles now."""
        return self.servers[0]


class Laptop(Site):
    """`bloomery up`: one process for everything."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._data.mkdir()
        self.jobs_dir = self._data / "jobs"
        self.servers = [embedded(folder, POLICY)]

    @contextmanager
    def running(self, images: Path) -> Iterator["Laptop"]:
        (server,) = self.servers
        server.start()
        about = json.loads((self._data / "server.json").read_text())
        self.endpoint, self.token = about["endpoint"], about["token"]
        try:
            with Client(self.endpoint, token=self.token, timeouts=PATIENT) as self.client:
                self.version = build_version(self.client, images)
                yield self
        finally:
            server.end()

    def train(self, model: str, epochs: int) -> Job:
        version = self.client.dataset_version(self.version)
        return version.train("yolo-detect", base="scratch", model=model, cpus=1, settings={"epochs": epochs, **SMALL})

    def recorded(self, job: Job, model: str) -> list[str]:
        job.model_version()
        return [
            version.proto.lineage.job for version in self.client.model(f"projects/faults/models/{model}").versions()
        ]


def embedded(folder: Path, settings: Mapping[str, str]) -> Server:
    """`bloomery up` on the folder `data` in a folder."""
    announcement = folder / "data" / "server.json"
    environment = {**os.environ, **settings, "BLOOMERY_DATA": str(folder / "data")}

    def ready() -> bool:
        return announcement.exists() and json.loads(announcement.read_text())["pid"] == server.pid

    server = Server([str(SCRIPTS / "bloomery"), "up"], environment, folder / "up.log", ready)
    return server


class Replicas(Site):
    """Two trainers that share PostgreSQL, MinIO and the machine, and a process with the other services.

    `refused` are the methods of the requests that the object store has answered with 503 last.
    """

    refused: Sequence[str] = ()

    def __init__(
        self,
        folder: Path,
        database_url: str,
        settings: Mapping[str, str],
        parts: Mapping[str, Part],
        objects: Minio,
        store_port: int,
    ) -> None:
        self.database, self.store, self._objects = parts["database"], parts["store"], objects
        self.store_port = store_port
        self._folder, self._token = folder, secrets.token_hex(16)
        self.jobs_dir = folder / "jobs"
        self._ports = [free_port() for _ in range(7)]
        own, first, second, *_ = self._ports
        self._services = f"127.0.0.1:{own}"
        self._trainers = f"ipv4:127.0.0.1:{first},127.0.0.1:{second}"
        self._shared = {**os.environ, **POLICY, **settings} | {
            "BLOOMERY_DATABASE_URL": database_url,
            "BLOOMERY_TOKEN": self._token,
            "BLOOMERY_BIND": "127.0.0.1",
            "BLOOMERY_ANNOTATION_TARGET": self._services,
            "BLOOMERY_DATASET_TARGET": self._services,
            "BLOOMERY_TRAINER_TARGET": self._trainers,
            "BLOOMERY_CACHE_DIR": str(folder / "cache"),
            "BLOOMERY_LAUNCHER__JOBS_DIR": str(self.jobs_dir),
            "BLOOMERY_LAUNCHER__CACHE_DIR": str(folder / "cache"),
            "BLOOMERY_WORKER_TARGET": f"ipv4:127.0.0.1:{self._ports[3]},127.0.0.1:{self._ports[4]}",
        }
        self.servers = [self._replica(index) for index in range(2)]

    @contextmanager
    def running(self, images: Path) -> Iterator["Replicas"]:
        environment = {**self._shared, "BLOOMERY_PORT": str(self._ports[0]), "PYTHONPATH": str(ROOT)}
        services = self._server("tests.faults.services", environment, self._services)
        every = [services, *self.servers]
        try:
            for server in every:
                server.start()
            with (
                Client(self._services, token=self._token) as self._client,
                Client(self._trainers, token=self._token, timeouts=PATIENT) as self._people,
            ):
                self.version = build_version(self._client, images)
                yield self
        finally:
            for server in reversed(every):
                server.end()

    def train(self, model: str, epochs: int) -> Job:
        job = JobProto(
            kind=JOB_KIND_TRAIN,
            recipe="recipes/yolo-detect",
            dataset_version=self.version,
            base="scratch",
            model=f"projects/faults/models/{model}",
            resources=Resources(cpus=1),
        )
        job.parameters.update({"epochs": epochs, **SMALL})
        request = CreateJobRequest(parent="projects/faults", job=job, request_id=model)
        with grpc.insecure_channel(self._trainers) as channel:
            created = JobServiceStub(channel).CreateJob(
                request, metadata=(("authorization", f"Bearer {self._token}"),), timeout=30, wait_for_ready=True
            )
        return self._people.job(created.name)

    def recorded(self, job: Job, model: str) -> list[str]:
        def jobs() -> list[str]:
            found = [one for one in self._client.models(project="faults") if one.name.endswith(f"/{model}")]
            return [version.proto.lineage.job for one in found for version in one.versions()]

        return eventually(jobs, bool, seconds=60)

    def leader(self) -> Server:
        def leading() -> list[Server]:
            gauges = [_metric(self._ports[5 + index], "bloomery_reconciler_leader") for index in range(2)]
            return [server for server, gauge in zip(self.servers, gauges, strict=True) if gauge == 1.0]

        return eventually(leading, lambda found: len(found) == 1, seconds=30)[0]

    def answer(self, job: Job) -> tuple[grpc.StatusCode, int]:
        """The code of a call about a job without any retry, and the health that the first replica tells."""
        with grpc.insecure_channel(f"127.0.0.1:{self._ports[1]}") as channel:
            stub: Any = HealthStub(channel)
            health: int = stub.Check(HealthCheckRequest(service="bloomery.training.v1.JobService"), timeout=10).status
            try:
                metadata = (("authorization", f"Bearer {self._token}"),)
                JobServiceStub(channel).GetJob(GetJobRequest(name=job.name), metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                return error.code(), health
        return grpc.StatusCode.OK, health

    def damaged(self) -> list[str]:
        """What of the object store has other bytes than the digest that its key ends with."""
        found = []
        for entry in self._objects.list_objects(BUCKET, recursive=True):
            assert entry.object_name is not None
            digest = entry.object_name.rpartition("/")[2]
            # What is not wanted any more may go while we look.
            with suppress(S3Error):
                if _DIGEST.fullmatch(digest) and self._digest(entry.object_name) != digest:
                    found.append(f"{entry.object_name} is damaged")
        return found

    def _digest(self, key: str) -> str:
        with self._objects.get_object(BUCKET, key) as content:
            return hashlib.sha256(content.read()).hexdigest()

    def _replica(self, index: int) -> Server:
        ports = {
            "BLOOMERY_PORT": str(self._ports[1 + index]),
            "BLOOMERY_WORKER_PORT": str(self._ports[3 + index]),
            "BLOOMERY_METRICS_PORT": str(self._ports[5 + index]),
        }
        return self._server("bloomery_trainer", {**self._shared, **ports}, f"127.0.0.1:{self._ports[1 + index]}")

    def _server(self, module: str, environment: Mapping[str, str], target: str) -> Server:
        log = self._folder / f"{module}-{target.rpartition(':')[2]}.log"
        return Server([sys.executable, "-m", module], environment, log, lambda: answers(target))


@contextmanager
def running_replicas(folder: Path, images: Path) -> Iterator[Replicas]:
    """Two replicas with servers of their own."""
    # A commit that was acknowledged must be there after a crash.
    with install_postgres(folder, synchronous_commit="on") as postgres, ExitStack() as stack:
        minio = new_minio()
        parts = {"database": Part(postgres.running), "store": Part(lambda: run_minio(folder, minio))}
        for part in parts.values():
            part.start()
            stack.callback(part.kill)
        client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
        client.make_bucket(BUCKET)
        store = {
            "KIND": "s3",
            "ENDPOINT": f"http://{minio.endpoint}",
            "PUBLIC_ENDPOINT": f"http://{minio.endpoint}",
            "BUCKET": BUCKET,
            "ACCESS_KEY": minio.access_key,
            "SECRET_KEY": minio.secret_key,
        }
        settings = {f"BLOOMERY_OBJECT_STORE__{name}": value for name, value in store.items()}
        url = postgres.server.url("postgres")
        port = int(minio.endpoint.rpartition(":")[2])
        site = stack.enter_context(Replicas(folder, url, settings, parts, client, port).running(images))
        yield site


def build_version(client: Client, images: Path) -> str:
    """Import images into the project `faults` and build a dataset version; its name."""
    project = client.create_project("faults")
    project.import_folder(images)
    return project.build_dataset("cells-v", split="official").wait().name


def _metric(port: int, name: str) -> float:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as response:
        found = re.search(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0
    return 0.0
