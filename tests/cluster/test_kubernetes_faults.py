"""What happens to jobs on a cluster when trainers die and networks fall silent."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from bloomery.training.v1 import JOB_STATE_SUCCEEDED
from bloomery_trainer import metrics
from bloomery_trainer.launcher import Order
from bloomery_trainer.launcher.kubernetes.launcher import KubernetesLauncher
from real_parts.process import free_port
from tests.cluster.conftest import Cluster, jobs_of, running_jobs
from tests.cluster.test_kubernetes_jobs import codes, reaches, runs
from tests.kit.proxy import silent_proxy
from tests.trainer.bench import QUICK, World
from tests.trainer.launcher_suite import until
from tests.trainer.test_processes import LONG, epochs

SECONDS = 120.0


class Forgetful(KubernetesLauncher):
    """Creates its first Job, and then there is an error before anybody hears of it."""

    failed = False

    async def launch(self, order: Order) -> None:
        await super().launch(order)
        if not self.failed:
            self.failed = True
            raise RuntimeError("the answer is lost")


class Dying(KubernetesLauncher):
    """Creates a Job and never comes back."""

    async def launch(self, order: Order) -> None:
        await super().launch(order)
        self.has_died.set()
        await asyncio.Event().wait()

    has_died = asyncio.Event()


async def test_a_launch_whose_answer_is_lost_makes_one_job(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, kind=Forgetful) as jobs:
        job = await runs(jobs)
        assert (len(await jobs.jobs()), len(await jobs.pods())) == (1, 1)
        assert (await jobs.trainer.get(job.name)).attempt == 1


async def test_a_leader_that_dies_in_the_middle_of_a_launch_is_followed_by_another(
    world: World, cluster: Cluster
) -> None:
    port, installation = free_port(), "followed"
    async with running_jobs(world, cluster, kind=Dying, worker_port=port, installation=installation) as first:
        job = await first.create(parameters=LONG)
        async with asyncio.timeout(SECONDS):
            await Dying.has_died.wait()
        # As by SIGKILL: its loops are gone, its lease is not.
        await first.app.loops.close()
        first.app.leadership.lease = None
        await asyncio.gather(first.host.drain(0), first.worker_host.drain(0))
        async with jobs_of(world, cluster, worker_port=port, installation=installation) as second:
            await second.trainer.until(job.name, lambda job: job.progress.epoch >= 1, seconds=SECONDS)
            assert (await second.trainer.get(job.name)).attempt == 1
            assert (len(await second.jobs()), len(await second.pods())) == (1, 1)


async def test_a_worker_that_is_cut_off_is_followed_and_its_words_are_refused(world: World, cluster: Cluster) -> None:
    policy = QUICK.model_copy(update={"suspect_after": 1.0, "lost_after": 4.0, "launch_grace": 60.0})
    port = free_port()
    async with silent_proxy(port, host=world.address, bind=world.address) as (proxy, entrance):
        target = f"{world.address}:{entrance}"
        async with jobs_of(world, cluster, policy=policy, worker_port=port, worker_target=target) as jobs:
            job = await runs(jobs, parameters={"epochs": 30, "pace": 0.2})
            proxy.fall_silent()
            await jobs.trainer.until(job.name, lambda job: job.reason.code == "WORKER_LOST", seconds=SECONDS)
            proxy.speak()
            done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
            assert done.attempt >= 2
            told = epochs(await jobs.trainer.watch(job.name))
            assert (sorted(set(told)), len(told) <= 31) == (list(range(1, 31)), True)
            kept = {artifact.logical_key for artifact in done.result.artifacts}
            assert not [key for key in kept if f"/{job.uid}/attempts/1/" in key]


async def elsewhere(cluster: Cluster, folder: Path, server: str) -> Path:
    """The kubeconfig of the cluster with its API server at another address."""
    config = json.loads(await cluster.ask("config", "view", "--raw", "--minify", "-o", "json"))
    described = config["clusters"][0]["cluster"]
    described |= {"tls-server-name": urlsplit(described["server"]).hostname, "server": server}
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


async def test_a_silent_api_server_holds_nobody_and_what_was_missed_is_seen(
    world: World, cluster: Cluster, tmp_path: Path
) -> None:
    config = json.loads(await cluster.ask("config", "view", "--raw", "--minify", "-o", "json"))
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    assert server.hostname is not None
    async with silent_proxy(server.port or 443, host=server.hostname) as (proxy, entrance):
        there = await elsewhere(cluster, tmp_path, f"https://127.0.0.1:{entrance}")
        quick = {"request_timeout": 2, "watch_seconds": 2}
        async with jobs_of(world, cluster, kubeconfig=there, **quick) as jobs:
            job = await runs(jobs, parameters={"epochs": 40, "pace": 0.2})
            before = await timeouts()
            proxy.fall_silent()
            await jobs.delete("pods", "--grace-period=1")
            await until(timeouts, lambda value: value > before, seconds=SECONDS)
            assert (await jobs.trainer.get(job.name)).attempt == 1
            proxy.speak()
            done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
            assert done.attempt == 2
            assert "DELETED_EXTERNALLY" in await codes(jobs, job)


async def timeouts() -> float:
    """How many watches were given up because nothing came any more."""
    return float(metrics.K8S_WATCH_RESTARTS.labels("timeout")._value.get())
