"""What the layers of a server do to a call."""

import asyncio
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2

from bloomery_kit.clients import channel
from bloomery_kit.context import request_id, trace_id
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound, error_info
from bloomery_kit.interceptors import Limits
from bloomery_kit.metrics import REGISTRY
from bloomery_kit.server import ServerOptions
from tests.kit.echo import OWNER, SERVICE, EchoHost, running_host, status_of, until

WATCH = StringValue(value="3")


def metric(name: str, kind: str, method: str, **labels: str) -> float:
    all_labels = {"grpc_type": kind, "grpc_service": SERVICE, "grpc_method": method, **labels}
    return REGISTRY.get_sample_value(name, all_labels) or 0.0


def calls_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "bloomery.rpc"]


async def words(*texts: str) -> AsyncIterator[StringValue]:
    for text in texts:
        yield StringValue(value=text)


def streaming_in(echo: EchoHost, method: str) -> object:
    kind = echo.channel.stream_unary if method == "Join" else echo.channel.stream_stream
    return kind(f"/{SERVICE}/{method}", StringValue.SerializeToString, StringValue.FromString)


async def test_all_four_arities_are_served(echo: EchoHost) -> None:
    assert await echo.ask("a") == "heard a"
    assert [message.value async for message in echo.watch()(WATCH)] == ["0", "1", "2"]
    joined = await streaming_in(echo, "Join")(words("a", "b"))  # type: ignore[operator]
    assert joined.value == "heard a b"
    chat = streaming_in(echo, "Chat")(words("a", "b"))  # type: ignore[operator]
    assert [message.value async for message in chat] == ["heard a", "heard b"]


@pytest.mark.parametrize("method", ["Answer", "Join"])
async def test_a_typed_error_arrives_whole(echo: EchoHost, method: str) -> None:
    async def refuse(text: str) -> str:
        raise InvalidArgument([FieldViolation("a", "bad"), FieldViolation("b", "worse")])

    echo.servicer.answer = refuse
    call = echo.unary("Answer")(WATCH) if method == "Answer" else streaming_in(echo, "Join")(words("x"))  # type: ignore[operator]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = await status_of(caught.value)
    bad = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(bad)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in bad.field_violations] == ["a", "b"]


async def test_an_error_in_the_middle_of_a_stream_follows_what_was_sent(echo: EchoHost) -> None:
    async def break_off(text: str) -> AsyncIterator[str]:
        yield "one"
        raise NotFound("thing", "things/t")

    echo.servicer.watch = break_off
    seen = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for message in echo.watch()(WATCH):
            seen.append(message.value)  # noqa: PERF401 - what came before the error counts
    assert seen == ["one"]
    assert error_info(await status_of(caught.value)).reason == "NOT_FOUND"


async def test_a_bug_says_nothing_but_a_log_id_that_the_log_has(
    echo: EchoHost, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(text: str) -> str:
        raise RuntimeError("the secret")

    echo.servicer.answer = bug
    status = await echo.fail()
    log_id = error_info(status).metadata["log_id"]
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "the secret" not in str(status)
    [record] = [record for record in caplog.records if getattr(record, "log_id", "") == log_id]
    assert record.exc_info
    assert "the secret" in str(record.exc_info[1])


async def test_an_error_with_ten_thousand_violations_reaches_the_client(echo: EchoHost) -> None:
    async def refuse(text: str) -> str:
        raise InvalidArgument([FieldViolation(f"items[{index}]", "ä" * 100) for index in range(10_000)])

    echo.servicer.answer = refuse
    assert (await echo.fail()).code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("method", ["Answer", "Watch", "Join", "Chat"])
async def test_what_is_no_message_is_the_callers_fault(
    echo: EchoHost, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    caplog.set_level(logging.INFO)
    path, bad = f"/{SERVICE}/{method}", b"\x0a\xff"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if method == "Answer":
            await echo.channel.unary_unary(path, bytes, bytes)(bad)
        elif method == "Watch":
            await anext(aiter(echo.channel.unary_stream(path, bytes, bytes)(bad)))
        elif method == "Join":
            await echo.channel.stream_unary(path, bytes, bytes)(iter([WATCH.SerializeToString(), bad]))
        else:
            await echo.channel.stream_stream(path, bytes, bytes)(iter([bad])).read()
    assert error_info(await status_of(caught.value)).reason == "MALFORMED_REQUEST"
    # The caller may know the status a moment before it is logged.
    await until(lambda: bool(calls_in(caplog)))
    [record] = calls_in(caplog)
    assert (record.__dict__["code"], record.__dict__["reason"]) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_who_may_not_call_does_not_learn_whether_the_message_was_one(echo: EchoHost) -> None:
    async with channel(echo.address) as stranger:
        call = stranger.unary_unary(f"/{SERVICE}/Answer", bytes, bytes)(b"\x0a\xff")
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_unwritten_method_is_unimplemented(echo: EchoHost) -> None:
    async def unwritten(text: str) -> str:
        raise NotImplementedError

    echo.servicer.answer = unwritten
    assert (await echo.fail()).code == grpc.StatusCode.UNIMPLEMENTED.value[0]


class TestIds:
    async def test_a_call_without_ids_gets_fresh_ones(self, echo: EchoHost) -> None:
        async def ids(text: str) -> str:
            return f"{request_id()} {trace_id()}"

        echo.servicer.answer = ids
        seen = {await echo.ask("") for _ in range(2)}
        assert len(seen) == 2
        assert all(len(text.split()) == 2 for text in seen)

    async def test_given_ids_are_kept_and_the_request_id_comes_back(self, echo: EchoHost) -> None:
        async def ids(text: str) -> str:
            return f"{request_id()} {trace_id()}"

        echo.servicer.answer = ids
        parent = f"00-{'a' * 32}-{'b' * 16}-01"
        call = echo.unary("Answer")(WATCH, metadata=(("x-request-id", "my-id"), ("traceparent", parent)))
        assert (await call).value == f"my-id {'a' * 32}"
        assert dict(await call.trailing_metadata())["x-request-id"] == "my-id"

    async def test_every_answer_says_which_version_served_it(self, echo: EchoHost) -> None:
        for method in ("Answer", "Unruled"):
            call = echo.unary(method)(WATCH)
            await call.code()
            assert dict(await call.trailing_metadata())["x-bloomery-version"] == version("bloomery-kit")

    async def test_the_request_id_comes_back_with_an_error_too(self, echo: EchoHost) -> None:
        call = echo.unary("Unruled")(WATCH, metadata=(("x-request-id", "my-id"),))
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        assert dict(await call.trailing_metadata())["x-request-id"] == "my-id"

    async def test_a_strange_id_is_replaced(self, echo: EchoHost) -> None:
        async def ids(text: str) -> str:
            return request_id()

        echo.servicer.answer = ids
        answer = await echo.unary("Answer")(WATCH, metadata=(("x-request-id", "x" * 200),))
        assert len(answer.value) == 32


class TestMeasures:
    async def test_calls_and_messages_are_counted(self, echo: EchoHost) -> None:
        labels = ("server_stream", "Watch")
        before = [
            metric("grpc_server_started_total", *labels),
            metric("grpc_server_msg_sent_total", *labels),
            metric("grpc_server_stream_seconds_count", *labels),
            metric("grpc_server_handled_total", *labels, grpc_code="OK"),
        ]
        async for _ in echo.watch()(WATCH):
            pass
        after = [
            metric("grpc_server_started_total", *labels),
            metric("grpc_server_msg_sent_total", *labels),
            metric("grpc_server_stream_seconds_count", *labels),
            metric("grpc_server_handled_total", *labels, grpc_code="OK"),
        ]
        assert [a - b for a, b in zip(after, before, strict=True)] == [1, 3, 1, 1]
        assert metric("grpc_server_handling_seconds_count", *labels) == 0

    async def test_failures_are_counted_by_code(self, echo: EchoHost) -> None:
        before = metric("grpc_server_handled_total", "unary", "Unruled", grpc_code="PERMISSION_DENIED")
        await echo.fail(method="Unruled")
        # The caller may know the status a moment before it is counted.
        await until(
            lambda: metric("grpc_server_handled_total", "unary", "Unruled", grpc_code="PERMISSION_DENIED") == before + 1
        )

    async def test_every_call_is_logged_without_its_content(
        self, echo: EchoHost, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "bloomery.rpc")
        await echo.ask("content")
        [record] = calls_in(caplog)
        fields = vars(record)
        assert (fields["method"], fields["code"], fields["subject"]) == (f"/{SERVICE}/Answer", "OK", "owner")
        assert "content" not in str(fields)
        assert OWNER not in str(fields)


class TestCancellation:
    async def test_a_client_that_leaves_cancels_its_handler(self, echo: EchoHost) -> None:
        started, ended = asyncio.Event(), asyncio.Event()

        async def hang(text: str) -> AsyncIterator[str]:
            try:
                yield "first"
                started.set()
                await asyncio.Event().wait()
            finally:
                ended.set()

        echo.servicer.watch = hang

        def cancelled() -> float:
            return metric("grpc_server_handled_total", "server_stream", "Watch", grpc_code="CANCELLED")

        before = cancelled()
        call = echo.watch()(WATCH)
        assert (await call.read()).value == "first"
        await started.wait()
        call.cancel()
        async with asyncio.timeout(50):
            await ended.wait()
        await until(lambda: cancelled() == before + 1)

    async def test_watches_that_come_and_go_leave_nothing_behind(self, echo: EchoHost) -> None:
        async def hang(text: str) -> AsyncIterator[str]:
            yield "first"
            await asyncio.Event().wait()

        echo.servicer.watch = hang
        before = len(asyncio.all_tasks())
        for _ in range(200):
            call = echo.watch()(WATCH)
            await call.read()
            call.cancel()
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)

    async def test_a_client_that_never_reads_still_lets_its_handler_end(self, echo: EchoHost) -> None:
        """The handler hangs in a write and not in its own code."""
        ended = asyncio.Event()

        async def flood(text: str) -> AsyncIterator[str]:
            try:
                while True:
                    yield "x" * 100_000
            finally:
                ended.set()

        echo.servicer.watch = flood
        call = echo.watch()(WATCH)
        await call.read()
        await asyncio.sleep(0.1)
        assert not ended.is_set()
        call.cancel()
        async with asyncio.timeout(50):
            await ended.wait()


class TestLimits:
    @pytest.fixture
    async def narrow(self) -> AsyncIterator[EchoHost]:
        limits = Limits(calls=1, streams=1)
        async with running_host(ServerOptions(drain_wait=0, limits=limits)) as host:
            yield host

    async def test_one_call_too_many_is_refused_with_a_delay(self, narrow: EchoHost) -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def wait(text: str) -> str:
            entered.set()
            await leave.wait()
            return text

        narrow.servicer.answer = wait
        first = asyncio.create_task(narrow.ask("a"))
        await entered.wait()
        status = await narrow.fail()
        leave.set()
        assert await first == "a"
        assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert any(packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for packed in status.details)
        assert await narrow.ask("b") == "b"

    async def test_open_watches_do_not_count_as_calls(self, narrow: EchoHost) -> None:
        async def hang(text: str) -> AsyncIterator[str]:
            yield "first"
            await asyncio.Event().wait()

        narrow.servicer.watch = hang
        watch = narrow.watch()(WATCH)
        await watch.read()
        assert await narrow.ask("a") == "heard a"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(narrow.watch()(WATCH)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        watch.cancel()


async def test_a_new_channel_does_not_wait_for_what_another_one_met() -> None:
    async with running_host() as gone:
        port = int(gone.address.rpartition(":")[2])
    async with channel(gone.address, token=OWNER) as early:
        with pytest.raises(grpc.aio.AioRpcError, match="Connection refused"):
            await gone.ask("a", on=early)
        async with running_host(ServerOptions(port=port, drain_wait=0)) as back:
            assert await back.ask("a") == "heard a"
