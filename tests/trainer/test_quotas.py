"""A project that has as many jobs as it may lets further ones wait, and starts them when it may have more."""

from pathlib import Path
from typing import Any

import pytest

from bloomery.access.v1 import Quota, QuotaServiceStub, RegisterProjectRequest, UpdateQuotaRequest
from bloomery.training.v1 import JOB_STATE_PENDING, recipe_pb2
from bloomery_kit.clients import channel
from bloomery_trainer.model import Resources
from tests import databases
from tests.access import helpers as access
from tests.trainer.bench import TOKEN, World
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import by_hand


async def test_jobs_wait_for_the_quota_and_start_when_it_is_raised(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "OWNER", TOKEN)
    monkeypatch.setattr("bloomery_kit.quotas._FRESH_SECONDS", 0.0)
    settings = access.settings_for(tmp_path, databases.sqlite_url("access", tmp_path / "access.db"))
    launcher = FakeLauncher(Resources(cpus=64, memory_bytes=1 << 40, gpus=64))
    async with access.serving(settings) as known, channel(known.address, token=TOKEN) as on:
        limits: Any = QuotaServiceStub(on)
        await known.service.RegisterProject(RegisterProjectRequest(project="cells", uid="u"))

        async def limit(**values: int) -> None:
            quota = Quota(name="projects/cells/quota", **values)  # type: ignore[arg-type]
            await limits.UpdateQuota(UpdateQuotaRequest(quota=quota))

        await limit(running_jobs=1, gpus=3)
        async with by_hand(world, launcher=launcher, access_target=known.address) as hand:
            asked = recipe_pb2.Resources(cpus=1, gpus=2)
            jobs = [await hand.trainer.create(resources=asked) for _ in range(3)]
            await hand.settle()
            states = [await hand.trainer.get(job.name) for job in jobs]
            assert [job.attempt for job in states] == [1, 0, 0]
            assert (states[1].state, states[1].reason.code) == (JOB_STATE_PENDING, "QUOTA_WAIT")
            assert "has 1 jobs at work and may have 1" in states[1].reason.message
            await limit(running_jobs=9)
            await hand.settle()
            assert [(await hand.trainer.get(job.name)).attempt for job in jobs] == [1, 0, 0]
            await limit(gpus=4)
            await hand.settle()
            assert [(await hand.trainer.get(job.name)).attempt for job in jobs] == [1, 1, 0]
            await limit(gpus=-1)
            await hand.settle()
            assert [(await hand.trainer.get(job.name)).attempt for job in jobs] == [1, 1, 1]


async def test_without_word_of_the_quota_jobs_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_kit.quotas._ASKING_SECONDS", 0.2)
    async with by_hand(world, access_target="127.0.0.1:1") as hand:
        job = await hand.trainer.create()
        await hand.settle(2)
        waiting = await hand.trainer.get(job.name)
        assert (waiting.attempt, waiting.reason.code) == (0, "QUOTA_WAIT")
        assert "cannot be told" in waiting.reason.message
