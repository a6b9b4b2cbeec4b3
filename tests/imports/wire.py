"""A way to a server on which connections break."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """A connection breaks once it has carried so many bytes to the server, or from it."""

    there: int = sys.maxsize
    back: int = sys.maxsize


@asynccontextmanager
async def cutting_proxy(port: int, cuts: Iterator[Cut]) -> AsyncIterator[int]:
    """A proxy before a port of the loopback interface; each connection has the next cut, then nothing is cut."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = next(cuts, Cut())
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
        ends = (writer, behind_writer)
        tasks.update(
            asyncio.create_task(one)
            for one in (
                _carry(reader, behind_writer, cut.there, ends),
                _carry(behind_reader, writer, cut.back, ends),
            )
        )

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int, ends: tuple[asyncio.StreamWriter, ...]
) -> None:
    """Pass on one direction until it ends, or has carried its last byte."""
    carried = 0
    try:
        with suppress(OSError):
            while data := await reader.read(1 << 14):
                part = data[: limit - carried]
                writer.write(part)
                await writer.drain()
                carried += len(part)
                if carried >= limit:
                    break
    finally:
        for end in ends:
            end.transport.abort()
