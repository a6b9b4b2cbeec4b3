"""From blocking code to the event loop that the client runs in a thread."""

import asyncio
import functools
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

from bloomery.errors import ClientClosed

P = ParamSpec("P")
T = TypeVar("T")
TwinT = TypeVar("TwinT")
FaceT = TypeVar("FaceT", bound="Facade")
WrappedT = TypeVar("WrappedT")


class Portal:
    """An event loop in a daemon thread. Closed by `close`, at the latest when the interpreter ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bloomery-client", daemon=True)
        self._thread.start()
        self.close = weakref.finalize(self, _stop, self._loop, self._thread)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in the loop and return what it returns. An interrupt of the caller cancels it.

        Raises:
            ClientClosed: the loop was stopped.
        """
        if not self.close.alive:
            work.close()
            raise ClientClosed
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Yield what `items` yields; it is closed when the caller leaves."""
        # A step that an interrupt cancelled unwinds before the iterator may be closed.
        turn = asyncio.Lock()

        async def step() -> tuple[T] | None:
            async with turn:
                try:
                    return (await anext(items),)
                except StopAsyncIteration:
                    return None

        async def leave() -> None:
            async with turn:
                if close := getattr(items, "aclose", None):
                    await close()

        try:
            while found := self.run(step()):
                yield found[0]
        finally:
            # An iterator that was left alone may outlive its client.
            if self.close.alive:
                self.run(leave())


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    asyncio.run_coroutine_threadsafe(_finish(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def _finish() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


class Facade:
    """Something blocking, with the asynchronous twin that does its work."""

    def __init__(self, portal: Portal, twin: Any) -> None:
        self._portal = portal
        self._twin = twin


Wrap = Callable[[Portal, TwinT], WrappedT]


def blocking(method: Callable[Concatenate[TwinT, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The blocking form of an asynchronous method that returns a value."""

    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._portal.run(_begun(method, self._twin, *args, **kwargs))

    return _described(call, method)


def chained(
    method: Callable[Concatenate[TwinT, P], Coroutine[Any, Any, TwinT]],
) -> Callable[Concatenate[FaceT, P], FaceT]:
    """The blocking form of an asynchronous method that returns its own handle."""

    def call(self: FaceT, /, *args: P.args, **kwargs: P.kwargs) -> FaceT:
        self._portal.run(_begun(method, self._twin, *args, **kwargs))
        return self

    return _described(call, method)


def wrapping(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, TwinT]], wrap: Wrap[TwinT, WrappedT]
) -> Callable[Concatenate[Any, P], WrappedT]:
    """The blocking form of an asynchronous method that returns a handle, which `wrap` makes a blocking one."""

    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> WrappedT:
        return wrap(self._portal, self._portal.run(_begun(method, self._twin, *args, **kwargs)))

    return _described(call, method)


def iterating(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """The blocking form of an asynchronous iterator over values."""

    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        # An iterator that is given may be a listing of this client, which the loop cannot wait for.
        given: Any = [list(one) if isinstance(one, Iterator) else one for one in args]
        return self._portal.iterate(_begun(method, self._twin, *given, **kwargs))

    return _described(call, method)


def streaming(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """The blocking form of an asynchronous iterator over values that waits in a thread for what is given to it."""

    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._portal.iterate(_begun(method, self._twin, *args, **kwargs))

    return _described(call, method)


def listing(
    method: Callable[Concatenate[Any, P], AsyncIterator[TwinT]], wrap: Wrap[TwinT, WrappedT]
) -> Callable[Concatenate[Any, P], Iterator[WrappedT]]:
    """The blocking form of an asynchronous iterator over handles, which `wrap` makes blocking ones."""

    def call(self: Facade, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[WrappedT]:
        for twin in self._portal.iterate(_begun(method, self._twin, *args, **kwargs)):
            yield wrap(self._portal, twin)

    return _described(call, method)


def _begun(method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What a method returns at once; arguments that it does not take are refused in the caller's words."""
    try:
        return method(*args, **kwargs)
    except TypeError as error:
        raise TypeError(str(error).removeprefix("Async")) from None


CallT = TypeVar("CallT", bound=Callable[..., object])


def _described(call: CallT, method: Callable[..., object]) -> CallT:
    """Give the blocking form the twin's name, text and signature, for `help` and editors."""
    functools.update_wrapper(call, method)
    call.__qualname__ = method.__qualname__.removeprefix("Async")
    return call
