"""A namespace of the cluster of KUBECONFIG, and launchers and trainers whose workers are pods of it."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bloomery_trainer.launcher import JobFacts, Order
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from bloomery_trainer.model import Kind, Resources
from bloomery_trainer.settings import KubernetesLauncherSettings
from real_parts.helm import ensure_helm
from real_parts.process import free_port
from render_chart import render
from tests.trainer.bench import QUICK, Trainer, World, running_trainer, running_world
from tests.trainer.launcher_suite import UID

MEMORY = 64 << 20
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests here time: pods of a busy machine start in minutes."""
    for item in items:
        if item.path.parent == Path(__file__).parent and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def image(name: str) -> str:
    """What `make images` calls an image."""
    return f"{os.environ.get('PREFIX') or 'docker.io/bloomery'}/{name}:{os.environ.get('TAG') or 'dev'}"


def _given(name: str, what: str) -> str:
    if not (value := os.environ.get(name)):
        pytest.fail(f"set {name}: {what}", pytrace=False)
    return value


@dataclass(frozen=True)
class Cluster:
    """A cluster and what tests may use of it."""

    kubeconfig: str
    namespace: str
    image: str
    """With a shell, and Python with the client of Bloomery; the nodes have it."""
    trainer: Path | None = None
    """A kubeconfig that may do what the chart lets a trainer do in the namespace, and nothing else."""

    def kubectl(self, *arguments: str, given: object = None) -> str:
        """What kubectl prints. Fails with what it complains of."""
        command = [
            str(ensure_helm() / "kubectl"),
            "--kubeconfig",
            self.kubeconfig,
            "--namespace",
            self.namespace,
            *arguments,
        ]
        text = None if given is None else json.dumps(given)
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    async def ask(self, *arguments: str, given: object = None) -> str:
        """The same, for tests in which something goes on meanwhile."""
        return await asyncio.to_thread(self.kubectl, *arguments, given=given)

    async def items(self, kind: str, *arguments: str) -> list[Any]:
        """Objects of a kind."""
        found: list[Any] = json.loads(await self.ask("get", kind, "-o", "json", *arguments))["items"]
        return found

    def settings(self, **values: Any) -> KubernetesLauncherSettings:
        """A launcher for this namespace; each test's is an installation of its own."""
        common: dict[str, Any] = {
            "kind": "kubernetes",
            "namespace": self.namespace,
            "image": self.image,
            "kubeconfig": self.trainer or Path(self.kubeconfig),
            "installation": f"t-{uuid4().hex[:12]}",
            "cpus": 0.01,
            "max_cpus": 0.01,
            "memory_bytes": MEMORY,
            "shm_bytes": 1 << 20,
            "look_interval": 0.1,
            "termination_grace": 20,
        }
        return KubernetesLauncherSettings(**common | values)


def node_address(cluster: Cluster) -> str:
    """Where clients reach a port that all nodes open."""
    (*_, node) = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    (address, *_) = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
    return str(address)


@contextlib.contextmanager
def namespace(purpose: str) -> Iterator[Cluster]:
    """A namespace that takes restricted pods only, and is gone afterwards."""
    kubeconfig = _given("KUBECONFIG", "the kubeconfig of a cluster for tests")
    name = f"{purpose}-{uuid4().hex[:8]}"
    cluster = Cluster(kubeconfig, name, os.environ.get("BLOOMERY_CONTROL_IMAGE", image("control")))
    cluster.kubectl("create", "namespace", name)
    try:
        cluster.kubectl("label", "namespace", name, RESTRICTED)
        for _ in range(60):
            if "default" in cluster.kubectl("get", "serviceaccounts", "-o", "name"):
                break
            time.sleep(0.5)
        yield cluster
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def as_trainer(cluster: Cluster, kubeconfig: Path) -> Cluster:
    """Let launchers be an account with the Role that the chart gives to trainers."""
    objects = render("--set", "publicEndpoint=https://none.example", "--set", f"workers.namespace={cluster.namespace}")
    (role,) = [each for each in objects if each["kind"] == "Role"]
    (binding,) = [each for each in objects if each["kind"] == "RoleBinding"]
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "trainer", "namespace": cluster.namespace}]
    cluster.kubectl("create", "serviceaccount", "trainer")
    for each in (role, binding):
        cluster.kubectl("create", "-f", "-", given=each)
    about = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    token = cluster.kubectl("create", "token", "trainer", "--duration=8h").strip()
    about["users"] = [{"name": about["users"][0]["name"], "user": {"token": token}}]
    kubeconfig.write_text(json.dumps(about))
    kubeconfig.chmod(0o600)
    return replace(cluster, trainer=kubeconfig)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with namespace("launcher") as cluster:
        yield as_trainer(cluster, tmp_path_factory.mktemp("trainer") / "kubeconfig")


class Pods:
    """Launchers of one installation whose workers run a line of shell."""

    def __init__(self, cluster: Cluster, **values: Any) -> None:
        self.cluster = cluster
        self.settings = cluster.settings(**values)
        self.launchers: list[KubernetesLauncher] = []
        self._line = "exit 0"

    @property
    def selector(self) -> str:
        return f"app.kubernetes.io/instance={self.settings.installation}"

    def script(self, line: str) -> None:
        self._line = line

    def launcher(self, **values: Any) -> KubernetesLauncher:
        values = {"command": ("sh", "-c", self._line), **values}
        launcher = KubernetesLauncher(self.settings.model_copy(update=values))
        self.launchers.append(launcher)
        return launcher

    def order(self, attempt: int = 1, **resources: Any) -> Order:
        asked = Resources(**{"memory_bytes": MEMORY, **resources})
        job = JobFacts(UID, "projects/p", "projects/p/jobs/j", Kind.TRAIN, "recipes/r", 0, 0, asked)
        return Order(job, attempt, {"BLOOMERY_TRAINER_TARGET": "here:1"}, {"BLOOMERY_ATTEMPT_TOKEN": "secret"})


@contextlib.asynccontextmanager
async def pods_of(cluster: Cluster, **values: Any) -> AsyncIterator[Pods]:
    """Launchers of which nothing is left."""
    pods = Pods(cluster, **values)
    try:
        yield pods
    finally:
        for launcher in pods.launchers:
            await launcher.close()
        await cluster.ask("delete", "jobs", "-l", pods.selector, "--wait=false")
        await cluster.ask("delete", "pods", "-l", pods.selector, "--wait=false", "--grace-period=1")


@pytest.fixture
async def pods(cluster: Cluster) -> AsyncIterator[Pods]:
    async with pods_of(cluster) as pods:
        yield pods


@pytest.fixture(scope="session")
def address(cluster: Cluster) -> str:
    """Where pods find this machine: unless it is told, where this machine is on the way to a node."""
    if told := os.environ.get("BLOOMERY_TEST_ADDRESS"):
        return told
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((node_address(cluster), 1))
        return str(way.getsockname()[0])


@pytest.fixture
async def world(tmp_path: Path, address: str) -> AsyncIterator[World]:
    async with running_world(tmp_path, address=address) as world:
        yield world


WORKER = (Path(__file__).parent.parent / "trainer/scripted_worker.py").read_text()


@contextlib.asynccontextmanager
async def running_jobs(
    world: World,
    cluster: Cluster,
    *,
    worker_port: int = 0,
    worker_target: str = "",
    reconcile: bool = True,
    kind: type[KubernetesLauncher] = KubernetesLauncher,
    **settings: Any,
) -> AsyncIterator[Trainer]:
    """A trainer on this machine whose workers speak the real protocol from pods; `settings` are the launcher's."""
    port = worker_port or free_port()
    command = ("python", "-P", "-c", WORKER)
    policy = settings.pop("policy", QUICK)
    launcher = kind(cluster.settings(**{"command": command, "memory_bytes": 256 << 20} | settings))
    async with running_trainer(
        world,
        launcher=launcher,
        worker_port=port,
        reconcile=reconcile,
        policy=policy,
        worker_bind=world.address,
        worker_target=worker_target or f"{world.address}:{port}",
    ) as trainer:
        yield trainer


@dataclass(frozen=True)
class Jobs:
    """A trainer, and its workers as the cluster knows them."""

    cluster: Cluster
    installation: str
    trainer: Trainer

    async def pods(self) -> list[Any]:
        return await self.cluster.items("pods", *self._ours)

    async def jobs(self) -> list[Any]:
        return await self.cluster.items("jobs", *self._ours)

    async def delete(self, kind: str, *arguments: str) -> None:
        await self.cluster.ask("delete", kind, "--wait=false", *self._ours, *arguments)

    @property
    def _ours(self) -> tuple[str, str]:
        return "-l", f"app.kubernetes.io/instance={self.installation}"


@contextlib.asynccontextmanager
async def jobs_of(world: World, cluster: Cluster, **settings: Any) -> AsyncIterator[Jobs]:
    """A trainer of which nothing is left in the cluster."""
    installation = settings.pop("installation", f"t-{uuid4().hex[:12]}")
    async with running_jobs(world, cluster, installation=installation, **settings) as trainer:
        jobs = Jobs(cluster, installation, trainer)
        try:
            yield jobs
        finally:
            await jobs.delete("jobs")
            await jobs.delete("pods", "--grace-period=1")


@pytest.fixture
async def jobs(world: World, cluster: Cluster) -> AsyncIterator[Jobs]:
    async with jobs_of(world, cluster) as jobs:
        yield jobs
