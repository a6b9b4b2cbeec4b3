"""HTTP requests that may be called off at any moment, and give back what they have opened."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from bloomery._concurrency import unbroken
from bloomery.errors import ClientClosed

_WAITS = frozenset(
    {
        "connect_tcp",
        "start_tls",
        "send_request_headers",
        "send_request_body",
        "receive_response_headers",
        "receive_response_body",
    }
)


class _Stream(Protocol):
    async def aclose(self) -> None: ...


class Attempt:
    """One request. Whoever is called off meanwhile, waits for its end, which comes soon.

    httpcore cleans up after a task that is cancelled once, while it waits for the network. Where that happens
    anywhere else, or twice, connections stay with the pool for ever, or are left to the garbage collector.
    """

    def __init__(self) -> None:
        self.extensions = {"trace": self._trace}
        """What the request has to be given."""
        self._task: asyncio.Task[None] | None = None
        self._waits = False
        self._left = False
        self._closed = False
        self._opened: _Stream | None = None

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Make the request.

        Raises:
            ClientClosed: `close` was called.
        """
        self._task = asyncio.create_task(self._request(work))
        await unbroken(self._task, self._leave)

    async def close(self) -> None:
        """Let the request end, if it has not, and wait for that."""
        self._closed = True
        if self._task:
            self._leave()
            await asyncio.wait([self._task])

    def _leave(self) -> None:
        """Let the request end now, or when it next waits for the network."""
        if self._task and self._waits and not self._left:
            self._task.cancel()
        self._left = True

    async def _request(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            # httpcore forgets the connection on which a handshake is cancelled.
            if self._opened:
                await self._opened.aclose()
            if self._closed:
                raise ClientClosed from None
            raise

    async def _trace(self, event: str, facts: dict[str, Any]) -> None:
        _, step, state = event.rsplit(".", 2)
        self._waits = state == "started" and step in _WAITS
        if (step, state) == ("connect_tcp", "complete"):
            self._opened = facts["return_value"]
        if self._waits and self._left:
            raise asyncio.CancelledError
