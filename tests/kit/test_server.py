"""Start, health, drain and the channel of a server."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bloomery.common.v1 import Problem
from bloomery_kit.clients import channel
from bloomery_kit.context import request_id, trace_id
from bloomery_kit.errors import Unavailable
from bloomery_kit.feeds import Notifier, watch_states
from bloomery_kit.server import ServerOptions, ServiceHost, run_until_signal
from tests.kit.echo import OWNER, SERVICE, EchoHost, EchoServicer, Tokens, register, running_host, until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
WATCH = StringValue(value="2")
PROTOS = Path(__file__).resolve().parents[2] / "protos"


def stub(on: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(on)


async def health(on: grpc.aio.Channel, service: str = SERVICE) -> int:
    answer = await stub(on).Check(health_pb2.HealthCheckRequest(service=service))
    status: int = answer.status
    return status


def endless(host: EchoHost) -> AsyncIterator[str]:
    async def load() -> str:
        return "state"

    return watch_states(load, changed=Notifier(), key="k", until=lambda _: False, draining=host.host.draining)


async def test_the_port_that_was_free_is_told(echo: EchoHost) -> None:
    assert echo.host.port > 0
    assert echo.address.endswith(str(echo.host.port))


async def test_a_taken_port_is_an_error(echo: EchoHost) -> None:
    other = ServiceHost(ServerOptions(port=echo.host.port), authenticator=Tokens())
    with pytest.raises(OSError, match="cannot listen"):
        await other.start()


class TestHealth:
    async def test_needs_no_credentials(self, echo: EchoHost) -> None:
        async with grpc.aio.insecure_channel(echo.address) as anonymous:
            assert await health(anonymous, "") == SERVING
            assert await health(anonymous) == SERVING

    async def test_follows_the_readiness_of_each_service(self) -> None:
        broken = True

        async def check() -> None:
            if broken:
                raise Unavailable("DATABASE_UNAVAILABLE", "down")

        options = ServerOptions(drain_wait=0, ready_interval=0.02)
        host = ServiceHost(options, authenticator=Tokens())
        host.add(register, EchoServicer(), SERVICE, ready=check)
        async with channel(f"127.0.0.1:{await host.start()}") as client:
            assert await health(client, "") == SERVING
            assert await health(client) == NOT_SERVING
            broken = False
            request = health_pb2.HealthCheckRequest(service=SERVICE)
            async for answer in stub(client).Watch(request, timeout=5):
                if answer.status == SERVING:
                    break
        await host.drain(0)

    async def test_asks_services_with_one_check_once(self) -> None:
        asked = 0

        async def check() -> None:
            nonlocal asked
            asked += 1

        host = ServiceHost(ServerOptions(drain_wait=0), authenticator=Tokens())
        for name in (SERVICE, "another.Service"):
            host.add(lambda *_: None, EchoServicer(), name, ready=check)
        async with channel(f"127.0.0.1:{await host.start()}") as client:
            assert [await health(client, name) for name in (SERVICE, "another.Service")] == [SERVING, SERVING]
        assert asked == 1
        await host.drain(0)

    async def test_a_check_that_hangs_is_not_ready(self) -> None:
        host = ServiceHost(ServerOptions(drain_wait=0, ready_interval=0.02), authenticator=Tokens())
        host.add(register, EchoServicer(), SERVICE, ready=asyncio.Event().wait)  # type: ignore[arg-type]
        async with channel(f"127.0.0.1:{await host.start()}") as client:
            assert await health(client) == NOT_SERVING
        await host.drain(0)

    @pytest.mark.parametrize("loop", ["health", "event loop lag"])
    async def test_turns_once_a_loop_of_the_host_has_ended(self, loop: str) -> None:
        async with running_host(ServerOptions(drain_wait=0, ready_interval=0.1)) as echo:
            await echo.host.loops.close(loop)
            for service in ("", SERVICE):
                await self.turns(echo.channel, service)

    async def test_turns_once_a_check_never_ends_whatever_becomes_of_it(self) -> None:
        asked = 0

        async def check() -> None:
            nonlocal asked
            asked += 1
            if asked > 1:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                await asyncio.Event().wait()

        host = ServiceHost(ServerOptions(drain_wait=0, ready_interval=0.1), authenticator=Tokens())
        host.add(register, EchoServicer(), SERVICE, ready=check)
        async with channel(f"127.0.0.1:{await host.start()}") as client:
            assert await health(client) == SERVING
            await self.turns(client, SERVICE)
        await host.drain(0)

    async def test_stays_as_long_as_it_is_checked(self) -> None:
        seen = set()
        async with running_host(ServerOptions(drain_wait=0, ready_interval=0.2)) as echo:
            with pytest.raises(grpc.aio.AioRpcError):
                async for answer in stub(echo.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE), timeout=1):
                    seen.add(answer.status)
        assert seen == {SERVING}

    async def turns(self, on: grpc.aio.Channel, service: str) -> None:
        """Wait until a service is NOT_SERVING."""
        async for answer in stub(on).Watch(health_pb2.HealthCheckRequest(service=service), timeout=5):
            if answer.status == NOT_SERVING:
                return

    async def test_has_a_plain_port_of_its_own_that_serves_nothing_else(self) -> None:
        async with running_host(ServerOptions(drain_wait=0, health_port=0)) as echo:
            async with channel(f"127.0.0.1:{echo.host.health_port}", token=OWNER) as probes:
                assert await health(probes) == SERVING
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await echo.ask("x", on=probes)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_its_own_port_too_refuses_what_is_no_message(self, caplog: pytest.LogCaptureFixture) -> None:
        options = ServerOptions(drain_wait=0, health_port=0)
        async with running_host(options) as echo, channel(f"127.0.0.1:{echo.host.health_port}") as probes:
            call = probes.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)(b"\x0a\xff")
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


class TestReflection:
    async def ask(self, on: grpc.aio.Channel, **question: Any) -> reflection_pb2.ServerReflectionResponse:
        service: Any = reflection_pb2_grpc.ServerReflectionStub(on)  # type: ignore[arg-type]
        [answer] = [
            answer
            async for answer in service.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]))
        ]
        assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
        return answer

    async def services(self, on: grpc.aio.Channel) -> list[str]:
        answer = await self.ask(on, list_services="")
        return [service.name for service in answer.list_services_response.service]

    async def test_lists_the_services_when_asked_for(self) -> None:
        async with running_host(ServerOptions(drain_wait=0, reflection=True)) as echo:
            assert SERVICE in await self.services(echo.channel)

    @pytest.mark.parametrize(
        ("symbol", "found"),
        [
            ("grpc.health.v1.Health", True),
            ("grpc.health.v1.Health.Check", True),
            ("grpc.health.v1.HealthCheckRequest.service", True),
            ("grpc.health.v1.Health.Nothing", False),
        ],
    )
    async def test_describes_services_methods_and_fields(self, symbol: str, found: bool) -> None:
        async with running_host(ServerOptions(drain_wait=0, reflection=True)) as echo:
            answer = await self.ask(echo.channel, file_containing_symbol=symbol)
        assert answer.HasField("file_descriptor_response") == found
        assert (answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]) != found

    async def test_says_what_the_contracts_say(self) -> None:
        async with running_host(ServerOptions(drain_wait=0, reflection=True)) as echo:
            answer = await self.ask(echo.channel, file_containing_symbol=Problem.DESCRIPTOR.full_name)
        told = [FileDescriptorProto.FromString(each) for each in answer.file_descriptor_response.file_descriptor_proto]
        [file] = [file for file in told if file.name == Problem.DESCRIPTOR.file.name]
        comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        message = [each.name for each in file.message_type].index(Problem.DESCRIPTOR.name)
        assert all(comments[4, message, 2, field.index].strip() for field in Problem.DESCRIPTOR.fields)
        source = (PROTOS / file.name).read_text("utf-8")
        assert f"//{comments[4, message]}".strip() in source

    async def test_is_off_by_default(self, echo: EchoHost) -> None:
        service: Any = reflection_pb2_grpc.ServerReflectionStub(echo.channel)  # type: ignore[arg-type]
        # A question might only be sent once the stream is over, which is another error.
        assert await service.ServerReflectionInfo().code() is grpc.StatusCode.UNIMPLEMENTED


class TestDrain:
    async def test_ends_open_watches_without_an_error(self, echo: EchoHost) -> None:
        echo.servicer.watch = lambda _: endless(echo)
        call = echo.watch()(WATCH)
        assert (await call.read()).value == "state"
        drain = asyncio.create_task(echo.host.drain(5))
        assert [message async for message in call] == []
        assert await call.code() is grpc.StatusCode.OK
        await drain

    async def test_lets_calls_in_flight_finish(self, echo: EchoHost) -> None:
        entered = asyncio.Event()

        async def slow(text: str) -> str:
            entered.set()
            await asyncio.sleep(0.1)
            return "done"

        echo.servicer.answer = slow
        answer = asyncio.create_task(echo.ask("x"))
        await entered.wait()
        await echo.host.drain(5)
        assert await answer == "done"

    async def test_cuts_what_outlasts_the_grace(self, echo: EchoHost) -> None:
        async def stubborn(text: str) -> AsyncIterator[str]:
            yield "first"
            await asyncio.Event().wait()

        echo.servicer.watch = stubborn
        call = echo.watch()(WATCH)
        await call.read()
        async with asyncio.timeout(50):
            await echo.host.drain(0.05)
        assert await call.code() is not grpc.StatusCode.OK

    async def test_tells_not_serving_before_it_ends_anything(self) -> None:
        async with running_host(ServerOptions(drain_wait=2)) as echo:
            drain = asyncio.create_task(echo.host.drain(0))
            await asyncio.sleep(0.05)
            assert await health(echo.channel) == NOT_SERVING
            assert not echo.host.draining.is_set()
            assert await echo.ask("still served") == "heard still served"
            await drain

    async def test_hosts_may_share_the_event(self) -> None:
        draining = asyncio.Event()
        async with running_host(draining=draining) as echo:
            await echo.host.drain(0)
        assert draining.is_set()


async def test_a_signal_drains_and_then_gives_up_the_rest() -> None:
    host = ServiceHost(ServerOptions(drain_wait=0), authenticator=Tokens())
    host.add(register, EchoServicer(), SERVICE)
    given_up = asyncio.Event()

    async def give_up() -> None:
        assert host.draining.is_set()
        given_up.set()

    task = asyncio.create_task(run_until_signal(host, on_stop=give_up))
    await until(lambda: host.port > 0)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(50):
        await task
    assert given_up.is_set()


async def test_what_a_server_has_from_its_start_is_not_collected_again_and_again() -> None:
    gc.unfreeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(700)
    task = asyncio.create_task(run_until_signal(ServiceHost(ServerOptions(drain_wait=0), authenticator=Tokens())))
    try:
        await until(lambda: gc.get_freeze_count() > 0)
        assert gc.get_threshold()[0] > 700
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(50):
            await task
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


async def test_a_second_signal_cuts_the_drain_short() -> None:
    host = ServiceHost(ServerOptions(drain_wait=3600), authenticator=Tokens())
    task = asyncio.create_task(run_until_signal(host))
    await until(lambda: host.port > 0)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(50):
        await task


class TestMessages:
    async def test_a_message_within_the_limit_passes_and_a_larger_one_is_refused(self, echo: EchoHost) -> None:
        assert len(await echo.ask("x" * (15 << 20))) == (15 << 20) + 6
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.ask("x" * (17 << 20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class TestChannel:
    async def test_a_token_may_change_between_calls(self, echo: EchoHost) -> None:
        tokens = iter(["wrong", OWNER])
        async with channel(echo.address, token=lambda: next(tokens)) as client:
            assert (await echo.fail(on=client)).code == grpc.StatusCode.UNAUTHENTICATED.value[0]
            assert await echo.ask("x", on=client) == "heard x"

    async def test_an_idempotent_call_survives_a_server_that_is_unavailable_twice(self, echo: EchoHost) -> None:
        asked = 0

        async def flaky(text: str) -> str:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise Unavailable("DATABASE_UNAVAILABLE", "down")
            return "up"

        echo.servicer.answer = flaky
        async with channel(echo.address, token=OWNER, retryable=[f"{SERVICE}/Answer"]) as client:
            assert await echo.ask("x", on=client) == "up"
            asked = 0
            assert (await echo.fail(method="Train", on=client)).code == grpc.StatusCode.UNAVAILABLE.value[0]
        assert asked == 1

    async def test_a_call_inside_a_call_keeps_its_ids(self, echo: EchoHost) -> None:
        async def inner(text: str) -> str:
            if text == "inner":
                return f"{request_id()} {trace_id()}"
            return f"{request_id()} {trace_id()}|{await echo.ask('inner')}"

        echo.servicer.answer = inner
        outside, inside = (await echo.ask("outer")).split("|")
        assert outside == inside
