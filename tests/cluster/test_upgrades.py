"""Upgrades, rollbacks and an uninstallation in the middle of a training: it goes on, and so do all who watch it."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from bloomery import AsyncClient
from tests.cluster.conftest import Cluster, image
from tests.cluster.installing import CHART
from tests.cluster.releases import PATIENT, RELEASED, People, Release, percentile, release_of
from tests.trainer.launcher_suite import until

SECONDS = 300.0
WATCHERS = 200
SETTINGS = {"epochs": 1000, "pace": 0.5}
pytestmark = pytest.mark.timeout(3000)


@pytest.fixture
async def release(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Release]:
    async with release_of(cluster, tmp_path) as release:
        yield release


async def started(client: AsyncClient, images: Path) -> str:
    """A training that is past its first epoch."""
    project = await client.create_project("upgraded")
    await project.import_folder(images)
    version = await (await project.build_dataset("cells", split="official")).wait()
    job = await version.train("scripted", memory=256 << 20, settings=SETTINGS)
    async with asyncio.timeout(SECONDS):
        while (await job.refresh()).proto.progress.epoch < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    return job.name


async def through(people: People, what: str, change: Awaitable[None]) -> None:
    """Let something happen, and wait until everybody has seen more of the training afterwards."""
    began, asked, bare = time.monotonic(), people.asked, people.bare.total()
    await change
    await people.all_see(people.last + 3)
    gaps = people.gaps(began)
    print(
        f"{what}: {time.monotonic() - began:.0f} s, {len(people.failures)} of {people.asked - asked} calls failed,"
        f" of {people.bare.total() - bare} that nobody repeats {dict(people.bare)} in all; pauses of {WATCHERS}"
        f" watchers: median {percentile(gaps, 0.5):.2f} s, p99 {percentile(gaps, 0.99):.2f} s, longest {gaps[-1]:.2f} s"
    )


async def test_a_training_and_its_watchers_outlive_upgrade_rollback_and_uninstallation(
    release: Release, examples_dir: Path
) -> None:
    before = os.environ.get("RELEASED_IMAGE", image("control"))
    await release.deploy("install", RELEASED, control=before)
    token = await release.trust()
    async with AsyncClient(release.endpoint, token=token, timeouts=PATIENT) as client:
        name = await started(client, examples_dir / "blood-cells")
        (worker,) = await release.workers()
        people = People(release.endpoint, token, name, WATCHERS)
        async with people.busy():
            await people.all_see(3)
            await through(people, "leader killed", leader_killed(release))
            await through(people, "upgrade", release.deploy("upgrade", CHART))
            await through(people, "restart", restarted(release))
            await through(people, "rollback", rolled_back(release))
            assert people.failures == []
            assert people.gaps(0)[-1] < 300
            await release.helm("uninstall", "bloomery", "--wait")
            (left,) = await release.workers()
            assert (left["metadata"]["uid"], left["status"]["phase"]) == (worker["metadata"]["uid"], "Running")
            await through(people, "installed again", release.deploy("install", CHART))
            (same,) = await release.workers()
            job = await client.job(name)
            assert (same["metadata"]["uid"], job.proto.attempt) == (worker["metadata"]["uid"], 1)
            await job.cancel()
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(*people.watching)
            last = (await job.refresh()).proto.last_sequence
        assert [[sequence for sequence, _ in seen] for seen in people.seen] == [list(range(1, last + 1))] * WATCHERS
    await until(release.workers, lambda pods: not pods, seconds=SECONDS)


async def leader_killed(release: Release) -> None:
    """As a node that loses its power: the lease of the leader has to run out."""
    before = await release.leader()
    await release.cluster.ask("delete", "pod", before, "--grace-period=0", "--force")
    began = time.monotonic()
    await until(release.leader, lambda pod: pod not in ("", before), seconds=SECONDS)
    print(f"another leads {time.monotonic() - began:.1f} s after the leader was killed")


async def restarted(release: Release) -> None:
    """What a change of values does to the two that every watch goes through."""
    parts = ("deployment/bloomery-trainer", "deployment/bloomery-proxy")
    await release.cluster.ask("rollout", "restart", *parts)
    for part in parts:
        await release.cluster.ask("rollout", "status", part, "--timeout=600s")


async def rolled_back(release: Release) -> None:
    await release.helm("rollback", "bloomery", "1", "--wait", "--timeout", "600s")
