"""A way to a server that can fall silent: nothing passes any more, and nobody is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class SilentProxy:
    """Passes on what it gets until it is told to fall silent; new connections are then taken and never answered."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def fall_silent(self) -> None:
        """Pass nothing on, in either direction."""
        self._open.clear()

    def speak(self) -> None:
        """Pass everything on again, beginning with what was held back."""
        self._open.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction of one connection until it ends."""
        try:
            with suppress(OSError):
                while data := await reader.read(1 << 16):
                    await self._open.wait()
                    writer.write(data)
                    await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def silent_proxy(
    port: int, *, host: str = "127.0.0.1", bind: str = "127.0.0.1"
) -> AsyncIterator[tuple[SilentProxy, int]]:
    """A proxy before a port of a host, by default this one, and the port that it listens on at `bind`."""
    proxy = SilentProxy()
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        behind_reader, behind_writer = await asyncio.open_connection(host, port)
        writers.append(behind_writer)
        tasks.update(
            asyncio.create_task(proxy.carry(*way)) for way in ((reader, behind_writer), (behind_reader, writer))
        )

    server = await asyncio.start_server(serve, bind, 0)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # A task that was cancelled before its first step has closed nothing.
        for writer in writers:
            writer.transport.abort()
