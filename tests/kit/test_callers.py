"""Callers as they are remembered: for seconds, and no longer than access could have been told something else."""

import asyncio

import pytest

from bloomery.access.v1 import Caller
from bloomery.common.v1 import ROLE_TRAINER, ROLE_VIEWER
from bloomery_kit.auth import OwnerToken, Principal, Role, format_principal, parse_principal
from bloomery_kit.callers import FRESH_SECONDS, KEPT_SECONDS, UNKNOWN, KnownCallers
from bloomery_kit.errors import Unauthenticated, Unavailable
from bloomery_kit.interceptors import _STILL_SECONDS

TOKEN = "bly_x"


class Directory:
    """Tells one caller, or an error; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None
        self.caller = Caller(subject="alice", role=ROLE_VIEWER)
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def authenticate(self, token: str) -> Caller:
        self.asked += 1
        await self.goes_on.wait()
        if self.error is not None:
            raise self.error
        return self.caller


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def callers(directory: Directory, time: Time) -> KnownCallers:
    return KnownCallers(OwnerToken("owner"), directory, clock=time)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_owner_and_garbage_ask_nobody(callers: KnownCallers, directory: Directory) -> None:
    assert (await callers.authenticate("owner")).subject == "owner"
    for token in ("garbage", "", "a.b", "a.b.c" + "d" * 20_000):
        with pytest.raises(Unauthenticated):
            await callers.authenticate(token)
    assert directory.asked == 0


async def test_who_was_known_a_moment_ago_does_not_wait(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    await callers.authenticate(TOKEN)
    await callers.authenticate(TOKEN)
    assert directory.asked == 1
    time.now += FRESH_SECONDS
    directory.goes_on.clear()
    assert (await callers.authenticate(TOKEN)).subject == "alice"
    await settle()
    assert directory.asked == 2
    directory.goes_on.set()


async def test_nobody_is_believed_longer_than_access_could_have_changed_its_mind(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    await callers.authenticate(TOKEN)
    directory.error = Unauthenticated("revoked", UNKNOWN)
    time.now += KEPT_SECONDS
    with pytest.raises(Unauthenticated):
        await callers.authenticate(TOKEN)


async def test_a_refusal_beside_a_call_is_seen_by_the_next(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    await callers.authenticate(TOKEN)
    directory.error = Unauthenticated("revoked", UNKNOWN)
    time.now += FRESH_SECONDS
    await callers.authenticate(TOKEN)
    await settle()
    with pytest.raises(Unauthenticated):
        await callers.authenticate(TOKEN)


async def test_an_outage_keeps_out_only_whom_nobody_knew(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    await callers.authenticate(TOKEN)
    directory.error = Unavailable("ACCESS_UNAVAILABLE", "away")
    time.now += KEPT_SECONDS - 0.1
    assert (await callers.authenticate(TOKEN)).subject == "alice"
    await settle()
    assert (await callers.authenticate(TOKEN)).subject == "alice"
    assert directory.asked == 2
    with pytest.raises(Unavailable):
        await callers.authenticate("bly_y")
    time.now += 0.1
    with pytest.raises(Unavailable):
        await callers.authenticate(TOKEN)


async def test_who_may_not_is_asked_about_again_and_once_a_second(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    await callers.authenticate(TOKEN)
    directory.caller = Caller(subject="alice", role=ROLE_TRAINER)
    assert (await callers.again(TOKEN)).role is Role.VIEWER
    time.now += 1
    assert (await callers.again(TOKEN)).role is Role.TRAINER
    assert (await callers.again(TOKEN)).role is (await callers.authenticate(TOKEN)).role is Role.TRAINER
    assert directory.asked == 2
    time.now += 1
    directory.error = Unavailable("ACCESS_UNAVAILABLE", "away")
    assert (await callers.again(TOKEN)).role is Role.TRAINER


async def test_many_who_come_at_once_ask_once(callers: KnownCallers, directory: Directory) -> None:
    directory.goes_on.clear()
    waiting = [asyncio.create_task(callers.authenticate(TOKEN)) for _ in range(5)]
    await settle()
    waiting[0].cancel()
    directory.goes_on.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {one.subject for one in found[1:] if isinstance(one, Principal)} == {"alice"}
    assert directory.asked == 1


async def test_credentials_that_end_are_not_kept_beyond(
    callers: KnownCallers, directory: Directory, time: Time
) -> None:
    directory.caller.expire_time.GetCurrentTime()
    directory.caller.expire_time.seconds += 2
    await callers.authenticate(TOKEN)
    time.now += 2
    await callers.authenticate(TOKEN)
    assert directory.asked == 2


@pytest.mark.parametrize(
    "principal",
    [
        Principal("alice", Role.VIEWER),
        Principal("Véra Ü. <v@x>", Role.UNSPECIFIED, {"cells": Role.ADMIN, "leaves": Role.VIEWER}, "oidc"),
        Principal("ci", Role.UNSPECIFIED, {"cells": Role.TRAINER}, "token", "0123456789abcdef"),
    ],
)
def test_a_principal_is_passed_on_whole(principal: Principal) -> None:
    text = format_principal(principal)
    assert text.isascii()
    assert parse_principal(text) == principal


@pytest.mark.parametrize("grants", ["cells", "cells=", "cells=7", "cells=6", "cells=x", "=="])
def test_roles_that_are_none_of_peoples_are_not_believed(grants: str) -> None:
    assert parse_principal(f"UNSPECIFIED alice token  {grants}") is None


async def test_a_caller_in_a_thousand_projects_passes_from_service_to_service() -> None:
    from bloomery_kit.clients import METADATA_BYTES

    roles = {f"{'p' * 58}{number:04}": Role.ADMIN for number in range(1000)}
    assert len(format_principal(Principal("a" * 255, Role.UNSPECIFIED, roles))) < METADATA_BYTES // 2


def test_a_stream_outlives_its_callers_role_by_ten_seconds_at_most() -> None:
    assert KEPT_SECONDS + _STILL_SECONDS <= 10.0
