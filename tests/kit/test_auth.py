import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from bloomery_kit.auth import PRINCIPAL_HEADER, OwnerToken, Principal, Role, format_principal, service_token
from bloomery_kit.clients import channel
from bloomery_kit.context import bearer_token, current_principal, principal_var
from bloomery_kit.errors import Unauthenticated
from tests.kit.echo import OWNER, SERVICE, EchoHost, Tokens

WATCH = StringValue(value="3")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", OWNER, f"Basic {OWNER}"])
async def test_without_good_credentials_nothing_is_served(echo: EchoHost, header: str | None) -> None:
    async with grpc.aio.insecure_channel(echo.address) as plain:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.unary("Answer", on=plain)(
                WATCH, metadata=(("authorization", header),) if header is not None else None
            )
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_method_without_a_role_is_refused_even_for_the_owner(echo: EchoHost) -> None:
    assert (await echo.fail(method="Unruled")).code == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def test_a_role_too_low_is_refused(echo: EchoHost) -> None:
    async with channel(echo.address, token="viewer-token") as viewer:
        assert await echo.ask("a", on=viewer) == "heard a"
        assert (await echo.fail(method="Train", on=viewer)).code == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def test_streams_are_guarded_as_well(echo: EchoHost) -> None:
    async with channel(echo.address) as anonymous:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(echo.watch(on=anonymous)(WATCH)))
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_handlers_know_the_caller(echo: EchoHost) -> None:
    async def who(text: str) -> str:
        return f"{current_principal().subject} {current_principal().role.name}"

    echo.servicer.answer = who
    assert await echo.ask("") == "owner ADMIN"


async def test_a_public_method_needs_nobody(echo: EchoHost) -> None:
    async def who(text: str) -> str:
        with pytest.raises(Unauthenticated):
            current_principal()
        return "nobody"

    echo.servicer.answer = who
    async with channel(echo.address) as anonymous:
        assert await echo.ask("", "Open", on=anonymous) == "nobody"


async def test_a_worker_method_gets_the_raw_token(echo: EchoHost) -> None:
    async def secret(text: str) -> str:
        return bearer_token()

    echo.servicer.answer = secret
    async with channel(echo.address, token="attempt-secret") as worker, channel(echo.address) as anonymous:
        assert await echo.ask("", "Work", on=worker) == "attempt-secret"
        assert (await echo.fail(method="Work", on=anonymous)).code == grpc.StatusCode.UNAUTHENTICATED.value[0]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANNOTATOR, Role.TRAINER, Role.ADMIN])
def test_each_role_includes_those_below_it(role: Role) -> None:
    may = [required for required in Role if Principal("p", role).may(required) and required >= Role.VIEWER]
    assert may == [required for required in Role if Role.VIEWER <= required <= role]


def test_a_worker_is_no_user() -> None:
    assert not any(Principal("w", Role.WORKER).may(required) for required in Role)


def test_a_service_may_all_but_a_workers_part() -> None:
    service = Principal("s", Role.SERVICE)
    assert all(service.may(required) for required in Role if Role.VIEWER <= required <= Role.ADMIN)
    assert service.may(Role.SERVICE)


async def test_what_services_do_is_refused_to_the_owner(echo: EchoHost) -> None:
    assert (await echo.fail(method="Serve")).code == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def who(text: str) -> str:
    return f"{current_principal().subject} {current_principal().role.name}"


async def test_a_service_is_told_from_the_owner(echo: EchoHost) -> None:
    echo.servicer.answer = who
    async with channel(echo.address, token=service_token(OWNER)) as service:
        assert await echo.ask("", "Serve", on=service) == "service SERVICE"
        assert await echo.ask("", "Train", on=service) == "service SERVICE"


async def test_a_service_passes_on_for_whom_it_calls(echo: EchoHost) -> None:
    echo.servicer.answer = who
    principal_var.set(Principal("Véra Ü. <v@x>", Role.VIEWER))
    async with channel(echo.address, token=service_token(OWNER)) as service:
        assert await echo.ask("", on=service) == "Véra Ü. <v@x> VIEWER"
        assert await echo.ask("", "Serve", on=service) == "Véra Ü. <v@x> VIEWER"
        # What the person may not do is not done for that person either.
        assert (await echo.fail(method="Train", on=service)).code == grpc.StatusCode.PERMISSION_DENIED.value[0]


@pytest.mark.parametrize("role", list(Role))
async def test_nobody_else_is_believed_to_call_for_somebody(echo: EchoHost, role: Role) -> None:
    echo.servicer.answer = who
    claim = ((PRINCIPAL_HEADER, format_principal(Principal("root", role))),)
    async with channel(echo.address, token="viewer-token") as viewer:
        answer = await echo.unary("Answer", on=viewer)(WATCH, metadata=claim)
        assert answer.value == "vera VIEWER"


async def test_a_service_that_names_nobody_calls_for_itself(echo: EchoHost) -> None:
    echo.servicer.answer = who
    async with channel(echo.address, token=service_token(OWNER)) as service:
        answer = await echo.unary("Answer", on=service)(WATCH, metadata=((PRINCIPAL_HEADER, ""),))
        assert answer.value == "service SERVICE"


@pytest.mark.parametrize(
    "claim", ["ADMIN", "ADMIN ", "SERVICE x", "WORKER x", "PUBLIC x", "NOBODY x", "VIEWER x   p=9"]
)
async def test_somebody_who_cannot_be_read_has_not_the_services_role(echo: EchoHost, claim: str) -> None:
    echo.servicer.answer = who
    async with channel(echo.address, token=service_token(OWNER)) as service:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.unary("Answer", on=service)(WATCH, metadata=((PRINCIPAL_HEADER, claim),))
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stream_ends_once_its_caller_may_no_more(echo: EchoHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_kit.interceptors._STILL_SECONDS", 0.0)
    told = asyncio.Event()

    async def watch(text: str) -> AsyncIterator[str]:
        yield "first"
        await told.wait()
        yield "second"

    async def unknown(self: object, token: str) -> Principal:
        raise Unauthenticated("revoked")

    echo.servicer.watch = watch
    async with channel(echo.address, token="viewer-token") as viewer:
        answers = aiter(echo.watch(on=viewer)(WATCH))
        assert (await anext(answers)).value == "first"
        monkeypatch.setattr(Tokens, "authenticate", unknown)
        told.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(answers)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", ["Answer", "Watch", "Join", "Chat"])
async def test_who_was_given_a_role_a_moment_ago_is_let_in(
    echo: EchoHost, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async def remembered(self: object, token: str) -> Principal:
        return Principal("late", Role.UNSPECIFIED)

    async def now(self: object, token: str) -> Principal:
        return Principal("late", Role.VIEWER)

    monkeypatch.setattr(Tokens, "authenticate", remembered)
    monkeypatch.setattr(Tokens, "again", now)
    asks, answers = method in ("Join", "Chat"), method in ("Watch", "Chat")
    arity = f"{'stream' if asks else 'unary'}_{'stream' if answers else 'unary'}"
    call = getattr(echo.channel, arity)(f"/{SERVICE}/{method}", StringValue.SerializeToString, StringValue.FromString)
    answer = call(iter([WATCH]) if asks else WATCH)
    assert (await anext(aiter(answer)) if answers else await answer).value


def test_an_empty_owner_token_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        OwnerToken("")
