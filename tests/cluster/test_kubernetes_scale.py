"""Five hundred jobs at work and ten thousand that are over: what a pass of the reconciler costs, and the API server."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import sqlalchemy as sa

from bloomery_kit.leases import Lease
from bloomery_trainer import metrics
from bloomery_trainer.launcher import Phase
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from bloomery_trainer.model import State
from bloomery_trainer.store.tables import attempts, jobs
from tests.cluster.conftest import Cluster, Jobs, Pods, jobs_of
from tests.trainer.bench import QUICK, World
from tests.trainer.launcher_suite import until

AT_WORK, OVER, WARM, PASSES = 500, 10_000, 20, 30
PATIENT = QUICK.model_copy(update={"suspect_after": 1e6, "lost_after": 1e6, "launch_grace": 1e6, "lease_term": 600.0})


@contextlib.asynccontextmanager
async def pretended_node(cluster: Cluster) -> AsyncIterator[str]:
    """A node that takes any number of pods and runs none of them: nobody is behind it."""
    name = cluster.namespace
    room = {"cpu": "1000", "memory": "10000Gi", "pods": "2000"}
    # Nobody else's pods may come here.
    taint = {"key": "pretended", "value": name, "effect": "NoSchedule"}
    metadata = {"name": name, "labels": {"pretended": name}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}}
    await cluster.ask("create", "-f", "-", given=node)
    ready = {"type": "Ready", "status": "True", "reason": "Pretended"}
    status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
    try:
        patched = ("--subresource=status", "--type=merge", "--patch-file=/dev/stdin")
        await cluster.ask("patch", "node", name, *patched, given=status)
        yield name
    finally:
        await cluster.ask("delete", "node", name)


async def multiply(crowd: Jobs, uid: str, count: int, prefix: str, state: State) -> None:
    """Write a job and its attempt down so many times more, in a state."""
    numbers = sa.text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i FROM n"
    )
    copies = numbers.columns(sa.column("i", sa.Integer)).bindparams(count=count).cte()
    named = sa.literal(prefix).concat(sa.cast(copies.c.i, sa.String))
    of_job: dict[str, Any] = {
        "uid": named,
        "job_id": named,
        "number": (1000 if state is State.RUNNING else 10_000) + copies.c.i,
        "state": sa.literal(int(state)),
    }
    of_attempt: dict[str, Any] = {"job_uid": named, "token_hash": named, "secret_hash": named}
    async with crowd.trainer.app.core.db.write() as tx:
        for table, changed, key in ((jobs, of_job, jobs.c.uid), (attempts, of_attempt, attempts.c.job_uid)):
            columns = [changed.get(column.name, column).label(column.name) for column in table.c]
            rows = sa.select(*columns).select_from(table.join(copies, sa.true())).where(key == uid)
            await tx.execute(sa.insert(table).from_select([column.name for column in table.c], rows))


@pytest.fixture
async def crowd(world: World, cluster: Cluster) -> AsyncIterator[Jobs]:
    """A trainer whose passes the test runs, with all its jobs."""
    async with pretended_node(cluster) as node:
        settings = {
            "node_selector": {"pretended": node},
            "tolerations": ({"operator": "Exists"},),
            "command": ("true",),
            "look_interval": 0,
            "request_timeout": 60,
            "policy": PATIENT,
            "reconcile": False,
        }
        async with jobs_of(world, cluster, **settings) as crowd:
            try:
                yield crowd
            finally:
                ours = ("-l", f"app.kubernetes.io/instance={crowd.installation}")
                await cluster.ask("delete", "jobs", *ours, "--cascade=orphan", "--wait=false")
                await cluster.ask("delete", "pods", *ours, "--force", "--grace-period=0", "--wait=false")


async def leading(crowd: Jobs) -> Lease:
    await crowd.trainer.app.leadership.campaign()
    lease = crowd.trainer.app.leadership.lease
    assert lease is not None
    return lease


async def at_work(crowd: Jobs) -> None:
    """As many Jobs as there are rows, each with a pod that its kubelet says to run."""
    launcher = crowd.trainer.app.core.launcher
    assert isinstance(launcher, KubernetesLauncher)
    plain = Pods(crowd.cluster).order()
    some = asyncio.Semaphore(16)

    async def launch(number: int) -> None:
        async with some:
            await launcher.launch(replace(plain, job=replace(plain.job, uid=f"work-{number}")))

    await asyncio.gather(*(launch(number) for number in range(1, AT_WORK)))
    await running(crowd)


async def running(crowd: Jobs) -> None:
    from kubernetes_asyncio import client, config

    api = await config.new_client_from_config(crowd.cluster.kubeconfig)
    some = asyncio.Semaphore(16)
    body = {
        "status": {
            "phase": "Running",
            "containerStatuses": [
                {
                    "name": "worker",
                    "image": "i",
                    "imageID": "i",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }
            ],
        }
    }

    async def patch(name: str) -> None:
        async with some:
            await client.CoreV1Api(api).patch_namespaced_pod_status(name, crowd.cluster.namespace, body)

    async def scheduled() -> list[str]:
        return [pod["metadata"]["name"] for pod in await crowd.pods() if pod["spec"].get("nodeName")]

    try:
        names = await until(scheduled, lambda names: len(names) == AT_WORK, seconds=300)
        await asyncio.gather(*map(patch, names))
    finally:
        await api.close()


def requests() -> float:
    """How many requests the launcher has made."""
    samples = (sample for metric in metrics.K8S_REQUESTS.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


@pytest.mark.timeout(900)
async def test_a_pass_over_many_jobs_costs_little_and_the_same_again(crowd: Jobs) -> None:
    core, reconciler = crowd.trainer.app.core, crowd.trainer.app.reconciler
    lease = await leading(crowd)
    job = await crowd.trainer.create()
    for _ in range(3):
        await reconciler.run_pass(lease)
    await multiply(crowd, job.uid, AT_WORK - 1, "work-", State.RUNNING)
    await multiply(crowd, job.uid, OVER, "over-", State.SUCCEEDED)
    await at_work(crowd)
    for _ in range(WARM):
        await reconciler.run_pass(lease)
    things = await core.launcher.observe()
    assert [thing.phase for thing in things] == [Phase.RUNNING] * AT_WORK
    before, memory, taken, computed = requests(), psutil.Process().memory_info().rss, list[float](), list[float]()
    for _ in range(PASSES):
        start, used = time.perf_counter(), time.process_time()
        await reconciler.run_pass(lease)
        taken.append(time.perf_counter() - start)
        computed.append(time.process_time() - used)
    grown = (psutil.Process().memory_info().rss - memory) / 2**20
    print(
        f"pass: median {statistics.median(taken):.3f} s, of which {statistics.median(computed):.3f} s are our own; "
        f"{(requests() - before) / PASSES:g} requests; {grown:+.1f} MiB after {PASSES} passes"
    )
    assert requests() - before == 2 * PASSES
    assert statistics.median(computed) < 0.3
    assert grown < 16
