"""Reading a log that a process is still writing, and that may be cut meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

_AT_ONCE = 64 << 10
"""Bytes that are read at once; a line of more is told in parts."""
_POLL = 0.5


async def lines(path: Path, *, tail: int, ended: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """The last `tail` lines of a file, then what is written until `ended` holds; nothing where there is no file."""
    over = await ended()
    text, position = await asyncio.to_thread(_read, path, None)
    whole, rest = split(text, over=over)
    for line in whole[max(0, len(whole) - tail) :]:
        yield line
    text = b""
    while not over:
        if len(text) < _AT_ONCE:
            await asyncio.sleep(_POLL)
        is_last = await ended()
        text, position = await asyncio.to_thread(_read, path, position)
        over = is_last and len(text) < _AT_ONCE
        whole, rest = split(rest + text, over=over)
        for line in whole:
            yield line


def _read(path: Path, position: int | None) -> tuple[bytes, int]:
    """Bytes past a position, or the last ones without one; and where they end. Of a file that was cut, nothing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _AT_ONCE) if position is None else min(position, size))
            return file.read(_AT_ONCE), file.tell()
    except OSError:
        return b"", position or 0


def split(text: bytes, *, over: bool) -> tuple[list[str], bytes]:
    """The whole lines of a text and what may not be whole yet; with `over` nothing follows."""
    *whole, rest = text.split(b"\n")
    if rest and (over or len(rest) >= _AT_ONCE):
        whole, rest = [*whole, rest], b""
    return [line.decode("utf-8", "replace") for line in whole], rest
