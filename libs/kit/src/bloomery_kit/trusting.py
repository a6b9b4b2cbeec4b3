"""A channel whose authorities may be exchanged: gRPC takes them once for the life of a channel."""

import asyncio
from collections.abc import Callable
from typing import Any, Self

import grpc

_GRACE = 16 * 60.0
"""Seconds: longer than any watch lives."""


class TrustingChannel(grpc.aio.Channel):
    """Makes a channel anew for the calls that begin after the authorities have changed; older calls go on."""

    def __init__(self, make: Callable[[bytes], grpc.aio.Channel], roots: Callable[[], bytes]) -> None:
        self._make, self._roots = make, roots
        self._trusted = roots()
        self._channel = make(self._trusted)
        self._leaving: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """The channel that trusts what is trusted now."""
        if (roots := self._roots()) != self._trusted:
            leaving = asyncio.create_task(_leave(self._channel))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            self._channel, self._trusted = self._make(roots), roots
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Close what there is, and end calls of former channels."""
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the present connection."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until it is another one."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until there is a connection."""
        await self.current().channel_ready()

    def unary_unary(self, *method: Any, **about: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "unary_unary", method, about)

    def unary_stream(self, *method: Any, **about: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "unary_stream", method, about)

    def stream_unary(self, *method: Any, **about: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "stream_unary", method, about)

    def stream_stream(self, *method: Any, **about: Any) -> Any:
        """See grpc.aio.Channel."""
        return _Method(self, "stream_stream", method, about)


async def _leave(channel: grpc.aio.Channel) -> None:
    # gRPC's own grace does not see streams that pass interceptors.
    try:
        await asyncio.sleep(_GRACE)
    finally:
        await channel.close()


class _Method:
    """A method of a stub, which lives as long as the stub, whatever becomes of channels."""

    def __init__(self, owner: TrustingChannel, arity: str, method: tuple[Any, ...], about: dict[str, Any]) -> None:
        self._owner, self._arity, self._method, self._about = owner, arity, method, about
        self._bound: tuple[grpc.aio.Channel, Any] | None = None

    def __call__(self, *request: Any, **options: Any) -> Any:
        channel = self._owner.current()
        if self._bound is None or self._bound[0] is not channel:
            self._bound = (channel, getattr(channel, self._arity)(*self._method, **self._about))
        return self._bound[1](*request, **options)
