"""A release of the chart over a PostgreSQL and a MinIO that outlive it, and what people see of it meanwhile."""

import asyncio
import json
import os
import secrets
import subprocess
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import yaml
from minio import Minio
from urllib3.exceptions import HTTPError

from bloomery import AsyncClient, AsyncJob, BloomeryError, Timeouts
from bloomery.training.v1 import GetJobRequest, JobServiceStub
from real_parts.helm import ensure_helm
from tests.cluster.conftest import WORKER, Cluster, image, node_address
from tests.cluster.installing import needs_images
from tests.recipe_files import texts
from tests.trainer.launcher_suite import until

HERE = Path(__file__).parent
RELEASED = HERE.parent / "deploy/released/bloomery-0.1.0.tgz"
"""The chart as it was released last."""
NAME = "bloomery"
ON_A_CONNECTION = 20
# On a busy node both replicas of a service may miss their probes for a moment.
PATIENT = Timeouts(contact=120.0)
Seen = list[tuple[int, float]]
_OUTSIDE = HERE / "outside.yaml"
_SECONDS = 600


@dataclass(frozen=True)
class Release:
    """A release in a namespace of its own, with workers that speak the real protocol without torch."""

    cluster: Cluster
    node: str
    port: int
    folder: Path

    @property
    def endpoint(self) -> str:
        return f"https://{self.node}:{self.port}"

    async def helm(self, *arguments: str) -> str:
        """What helm prints. Fails with what it complains of."""
        command = [str(ensure_helm() / "helm"), "--kubeconfig", self.cluster.kubeconfig]
        command += ["--namespace", self.cluster.namespace, *arguments]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}\n{await self.pods_in_words()}"
        return done.stdout

    async def deploy(self, verb: str, chart: Path, *options: str, control: str = "") -> None:
        """Install or upgrade, and wait until all of it is ready."""
        values = self._values() | {"images": self._images(control or image("control"))}
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        waiting = ("--wait", "--timeout", f"{_SECONDS}s")
        await self.helm(verb, NAME, str(chart), "--values", str(file), *waiting, *options)

    async def prepare(self) -> None:
        """What the release needs and does not bring: a database, a bucket, and what workers can do."""
        parts = _OUTSIDE.read_text().replace("POSTGRES\n", f"{image('test-postgres')}\n")
        parts = parts.replace("MINIO\n", f"{image('minio')}\n")
        for part in yaml.safe_load_all(parts):
            await self.cluster.ask("apply", "-f", "-", given=part)
        recipes = {"recipes.json": json.dumps(texts(HERE.parent / "trainer/recipes"))}
        metadata = {"name": "scripted-recipes"}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": recipes}
        await self.cluster.ask("apply", "-f", "-", given=config)
        pods = ("pod/outside-postgres", "pod/outside-minio")
        await self.cluster.ask("wait", "--for=condition=Ready", f"--timeout={_SECONDS}s", *pods)
        store = Minio(f"{self.node}:{await self._store_port()}", "outside", "outside-password", secure=False)

        async def made() -> bool:
            # Nodes open the port some time after the pod is ready.
            with suppress(HTTPError):
                await asyncio.to_thread(store.make_bucket, "bloomery")
                return True
            return False

        await until(made, bool, seconds=_SECONDS)

    async def trust(self) -> str:
        """Let this process trust the release; the token of its owner."""
        secret = await self._secret(f"{NAME}-tls")
        authority = self.folder / "ca.crt"
        authority.write_bytes(b64decode(secret["ca.crt"]))
        os.environ["SSL_CERT_FILE"] = str(authority)
        return b64decode((await self._secret(f"{NAME}-credentials"))["token"]).decode()

    async def workers(self) -> list[Any]:
        """The pods of jobs."""
        return await self.cluster.items("pods", "-l", "app.kubernetes.io/managed-by=bloomery-trainer")

    async def leader(self) -> str:
        """The pod of the trainer that reconciles; empty while none does."""
        for pod in await self.cluster.items("pods", "-l", "app.kubernetes.io/component=trainer"):
            name = pod["metadata"]["name"]
            path = f"/api/v1/namespaces/{self.cluster.namespace}/pods/{name}:9090/proxy/metrics"
            # One that goes or comes does not answer.
            with suppress(AssertionError):
                if "\nbloomery_reconciler_leader 1.0" in await self.cluster.ask("get", "--raw", path):
                    return str(name)
        return ""

    async def pods_in_words(self) -> str:
        return await self.cluster.ask("get", "pods", "-o", "wide")

    async def _secret(self, name: str) -> dict[str, str]:
        data: dict[str, str] = json.loads(await self.cluster.ask("get", "secret", name, "-o", "json"))["data"]
        return data

    async def _store_port(self) -> int:
        service = json.loads(await self.cluster.ask("get", "service", "outside-minio", "-o", "json"))
        return int(service["spec"]["ports"][0]["nodePort"])

    def _images(self, control: str) -> dict[str, str]:
        return {"control": control, "worker": image("control"), "proxy": image("test-proxy")}

    def _values(self) -> dict[str, Any]:
        store = f"http://{self.node}:{self.cluster.kubectl('get', 'service', 'outside-minio', '-o', _NODE_PORT)}"
        launcher = {"command": ["python", "-P", "-c", WORKER], "cpus": 0.1, "max_cpus": 0.1, "shm_bytes": 1 << 20}
        one = {"replicas": 1}
        return {
            "publicEndpoint": self.endpoint,
            "proxy": {"service": {"type": "NodePort", "nodePort": self.port}},
            "services": {"annotation": one, "dataset": one, "inference": one},
            "database": {"mode": "external", "existingSecret": "outside"},
            "objectStore": {
                "mode": "external",
                "endpoint": "http://outside-minio:9000",
                "publicEndpoint": store,
                "existingSecret": "outside",
            },
            "workers": {"recipesConfigMap": "scripted-recipes", "launcher": launcher},
            "triton": {"mode": "none"},
            "check": {"recipe": ""},
        }


_NODE_PORT = "jsonpath={.spec.ports[0].nodePort}"


@asynccontextmanager
async def release_of(cluster: Cluster, folder: Path) -> AsyncIterator[Release]:
    """A release that is not installed yet, in a namespace that is gone afterwards."""
    name = f"faults-{secrets.token_hex(4)}"
    await cluster.ask("create", "namespace", name)
    trusted = os.environ.get("SSL_CERT_FILE")
    try:
        own = Cluster(cluster.kubeconfig, name, cluster.image)
        await own.ask("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        needs_images(own, "control", "minio", "test-postgres", "test-proxy")
        release = Release(own, node_address(own), 30000 + secrets.randbelow(2768), folder)
        await release.prepare()
        yield release
    finally:
        os.environ.pop("SSL_CERT_FILE", None)
        if trusted is not None:
            os.environ["SSL_CERT_FILE"] = trusted
        await cluster.ask("delete", "namespace", name, "--wait=false")


@dataclass
class People:
    """Many who watch one job all the time, and some who ask about it again and again."""

    endpoint: str
    token: str
    job: str
    watchers: int
    seen: list[Seen] = field(default_factory=list)
    asked: int = 0
    failures: list[str] = field(default_factory=list)
    watching: list[asyncio.Task[None]] = field(default_factory=list)
    """The watches, which end with the job."""
    bare: Counter[grpc.StatusCode] = field(default_factory=Counter)
    """The codes of calls that were not repeated, as by a client without any care."""

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Watch and ask for as long as the block runs."""
        asking: list[asyncio.Task[None]] = []
        async with AsyncExitStack() as clients:
            try:
                client = await clients.enter_async_context(
                    AsyncClient(self.endpoint, token=self.token, timeouts=PATIENT)
                )
                asking += [asyncio.create_task(self._ask(client)), asyncio.create_task(self._ask_once())]
                for _ in range(0, self.watchers, ON_A_CONNECTION):
                    client = await clients.enter_async_context(
                        AsyncClient(self.endpoint, token=self.token, timeouts=PATIENT)
                    )
                    job = await client.job(self.job)
                    for _ in range(ON_A_CONNECTION):
                        self.seen.append([])
                        self.watching.append(asyncio.create_task(self._watch(job, self.seen[-1])))
                yield
            finally:
                for task in (*asking, *self.watching):
                    task.cancel()
                await asyncio.gather(*asking, *self.watching, return_exceptions=True)

    async def all_see(self, beyond: int, *, seconds: float = 300) -> None:
        """Wait until every watcher has events beyond a sequence. Raise what has ended one."""
        deadline = time.monotonic() + seconds
        while late := [seen[-1] if seen else None for seen in self.seen if not seen or seen[-1][0] <= beyond]:
            for ended in filter(asyncio.Task.done, self.watching):
                ended.result()
            assert time.monotonic() < deadline, f"{len(late)} watchers last saw {late[:5]}, at {time.monotonic():.0f}"
            await asyncio.sleep(0.2)

    @property
    def last(self) -> int:
        """The newest event that anybody has seen."""
        return max((seen[-1][0] for seen in self.seen if seen), default=0)

    def gaps(self, since: float) -> list[float]:
        """The pauses between two events, of all watchers, the shortest first."""
        return sorted(
            after - before for seen in self.seen for (_, before), (_, after) in pairwise(seen) if after > since
        )

    async def _watch(self, job: AsyncJob, seen: Seen) -> None:
        async for event in job.watch():
            seen.append((event.sequence, time.monotonic()))

    async def _ask(self, client: AsyncClient) -> None:
        while True:
            try:
                await client.job(self.job)
                await client.project(self.job.split("/")[1])
            except BloomeryError as error:
                self.failures.append(repr(error))
            self.asked += 2
            await asyncio.sleep(0.1)

    async def _ask_once(self) -> None:
        """As a client that repeats nothing, on one connection."""
        authority = await asyncio.to_thread(Path(os.environ["SSL_CERT_FILE"]).read_bytes)
        target, metadata = self.endpoint.removeprefix("https://"), (("authorization", f"Bearer {self.token}"),)
        credentials = grpc.ssl_channel_credentials(authority)
        options = (("grpc.enable_retries", 0),)
        async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
            stub: Any = JobServiceStub(channel)
            while True:
                code = grpc.StatusCode.OK
                try:
                    await stub.GetJob(GetJobRequest(name=self.job), metadata=metadata, timeout=20)
                except grpc.aio.AioRpcError as error:
                    code = error.code()
                self.bare[code] += 1
                await asyncio.sleep(0.1)


def percentile(values: Sequence[float], part: float) -> float:
    """A value below which this part of sorted ones lies."""
    return values[min(len(values) - 1, int(part * len(values)))]
