"""Limits of projects: set by admins of the installation, read by services, kept through outages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from bloomery.access.v1 import GetQuotaRequest, Quota, QuotaLimits, QuotaServiceStub, UpdateQuotaRequest
from bloomery_access.settings import AccessSettings, QuotaSettings
from bloomery_kit.auth import Role, service_token
from bloomery_kit.clients import channel
from bloomery_kit.errors import Unavailable
from bloomery_kit.quotas import Limits, Quotas
from tests.access.helpers import OWNER, Access, refusal, serving

NAME = "projects/p/quota"


@pytest.fixture
async def known(access: Access) -> Access:
    await access.project("p")
    return access


@pytest.fixture
async def owner(known: Access) -> AsyncIterator[Any]:
    async with channel(known.address, token=OWNER) as on:
        yield QuotaServiceStub(on)


async def update(stub: Any, *paths: str, **limits: int) -> Quota:
    request = UpdateQuotaRequest(quota=Quota(name=NAME, **limits), update_mask={"paths": paths} if paths else None)  # type: ignore[arg-type]
    answer: Quota = await stub.UpdateQuota(request)
    return answer


async def test_what_is_set_holds_and_the_rest_is_the_installations(settings: AccessSettings) -> None:
    defaults = QuotaSettings(images=10, gpus=2)
    async with (
        serving(settings.model_copy(update={"default_quota": defaults})) as access,
        channel(access.address, token=OWNER) as on,
    ):
        owner: Any = QuotaServiceStub(on)
        await access.project("p")
        assert (await owner.GetQuota(GetQuotaRequest(name=NAME))).limits == QuotaLimits(images=10, gpus=2)
        assert (await update(owner, images=0, gpus=-1)).limits == QuotaLimits(images=0)
        assert (await update(owner, bytes=5)).limits == QuotaLimits(images=0, bytes=5)
        assert (await update(owner, "images")).limits == QuotaLimits(images=10, bytes=5)


async def test_without_a_default_there_is_no_limit(owner: Any) -> None:
    assert (await owner.GetQuota(GetQuotaRequest(name=NAME))).limits == QuotaLimits()


async def test_only_admins_of_the_installation_set_limits(known: Access) -> None:
    await known.member("anna", Role.ADMIN, "p")
    await known.member("olga", Role.ADMIN)
    async with channel(known.address, token=await known.token("anna")) as on:
        anna: Any = QuotaServiceStub(on)
        await anna.GetQuota(GetQuotaRequest(name=NAME))
        assert (await refusal(update(anna, images=9)))[0] is grpc.StatusCode.PERMISSION_DENIED
    async with channel(known.address, token=await known.token("olga")) as on:
        assert (await update(QuotaServiceStub(on), images=9)).images == 9


@pytest.mark.parametrize("wrong", [{"images": -2}, {"name": "projects/p"}, {"paths": ["limits"]}])
async def test_limits_that_are_none_are_refused(owner: Any, wrong: dict[str, Any]) -> None:
    quota = Quota(name=wrong.get("name", NAME), images=wrong.get("images", 1))
    request = UpdateQuotaRequest(quota=quota, update_mask={"paths": wrong.get("paths", [])})  # type: ignore[arg-type]
    assert (await refusal(owner.UpdateQuota(request)))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_limits_of_a_project_go_with_it(known: Access, owner: Any) -> None:
    await update(owner, images=9)
    await known.project("p", uid="another")
    assert (await owner.GetQuota(GetQuotaRequest(name=NAME))).limits == QuotaLimits()


async def test_services_keep_what_they_knew_last_through_an_outage(settings: AccessSettings) -> None:
    now = 0.0
    async with serving(settings) as access, channel(access.address, token=OWNER) as on:
        await access.project("p")
        quotas = Quotas(_as_service(access), clock=lambda: now)
        await update(QuotaServiceStub(on), images=9)
        assert await quotas.of("p") == Limits(images=9)
        await update(QuotaServiceStub(on), images=8)
        assert await quotas.of("p") == Limits(images=9)
        now += 3
        assert await quotas.of("p") == Limits(images=8)
    now += 3
    assert await quotas.of("p") == Limits(images=8)
    with pytest.raises(Unavailable, match="cannot be told"):
        await quotas.of("q")


async def test_nobody_waits_long_for_a_service_that_hangs(
    known: Access, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_kit.quotas._PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("bloomery_kit.quotas._FRESH_SECONDS", 0.0)
    async with _as_service(known) as on:
        quotas, over = Quotas(on), asyncio.Event()
        await update(owner, images=9)
        assert await quotas.of("p") == Limits(images=9)
        asked: Any = quotas._stub

        class Hanging:
            async def GetQuota(self, request: GetQuotaRequest, **options: Any) -> Quota:
                await over.wait()
                answer: Quota = await asked.GetQuota(request, **options)
                return answer

        monkeypatch.setattr(quotas, "_stub", Hanging())
        await update(owner, images=8)
        assert await quotas.of("p") == Limits(images=9)
        over.set()
        await asyncio.gather(*quotas._asking.values())
        assert await quotas.of("p") == Limits(images=8)


def _as_service(access: Access) -> grpc.aio.Channel:
    return channel(access.address, token=service_token(OWNER))
