import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from bloomery_kit.auth import OwnerToken, Principal, Role
from bloomery_kit.clients import channel
from bloomery_kit.context import bearer_token, current_principal
from bloomery_kit.errors import Unauthenticated
from tests.kit.echo import OWNER, EchoHost

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


def test_an_empty_owner_token_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        OwnerToken("")
