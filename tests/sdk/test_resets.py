"""What a proxy does to streams of a server that died: it resets them, or ends them without a status."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bloomery import errors
from bloomery._address import Address
from bloomery._session import Session
from bloomery.training import v1 as training

# Of HTTP/2 (RFC 9113, 6): types of frames, flags, and the code of an error.
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INTERNAL_ERROR = 2
PREFACE = 24
# `:status: 200` and `content-type: application/grpc` (RFC 7541, appendix A and 6.2.2).
ANSWER = b"\x88" + b"\x0f\x10" + bytes([16]) + b"application/grpc"


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + content


ENDS = {
    "reset": (RST_STREAM, 0, INTERNAL_ERROR.to_bytes(4)),
    "ended": (DATA, END_STREAM, b""),
}


async def break_all(how: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the headers of each stream, and break it then."""
    kind_of_end, flags_of_end, content = ENDS[how]
    try:
        await reader.readexactly(PREFACE)
        writer.write(frame(SETTINGS, 0, 0, b""))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3]))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
            if kind == SETTINGS and not flags & ACK:
                writer.write(frame(SETTINGS, ACK, 0, b""))
            if kind == HEADERS:
                writer.write(frame(HEADERS, END_HEADERS, stream, ANSWER))
                writer.write(frame(kind_of_end, flags_of_end, stream, content))
    except (asyncio.IncompleteReadError, ConnectionError):
        # The client has gone.
        writer.close()


@pytest.fixture(params=ENDS)
async def session(request: pytest.FixtureRequest) -> AsyncIterator[Session]:
    open_ones: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(asyncio.ensure_future(break_all(request.param, reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    session = Session(Address(f"127.0.0.1:{port}", "secret"))
    yield session
    await session.close()
    server.close()
    await asyncio.gather(*open_ones)


async def test_a_stream_that_a_proxy_breaks_may_be_opened_again(session: Session) -> None:
    with pytest.raises(errors.Unavailable, match=r"Stream removed|RST_STREAM"):
        async for _ in session.stream(session.jobs.WatchJob, training.WatchJobRequest(name="projects/p/jobs/j")):
            pass
