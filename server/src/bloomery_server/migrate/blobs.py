"""The files of a folder into a bucket, each under its key, and both sides compared by digest."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bloomery_kit.errors import NotFound
from bloomery_kit.objects import ObjectStat, ObjectStore, check_key
from bloomery_server.migrate.journal import Copied

T = TypeVar("T")
_DIGEST = re.compile("[0-9a-f]{64}")
_AT_ONCE = 16
_LARGE = 16 << 20
"""Files of more bytes go in parts, several of which are in memory at once."""
_LARGE_AT_ONCE = 2
_NOTED_AT_ONCE = 500


@dataclass
class Outcome:
    """What became of files: how many there are now, their bytes, and those whose content is not what their key says."""

    count: int = 0
    size_bytes: int = 0
    damaged: list[str] = field(default_factory=list)


async def files_of(folder: ObjectStore) -> tuple[list[ObjectStat], list[str]]:
    """All files, and the names of those that are none of ours."""
    files, foreign = [], []
    async for stat in folder.list():
        try:
            check_key(stat.key)
        except ValueError:
            foreign.append(stat.key)
        else:
            files.append(stat)
    return sorted(files, key=lambda stat: stat.key), foreign


class Copying:
    """Copies files; `root` is where they lie, `note` is told what has arrived."""

    def __init__(
        self, folder: ObjectStore, root: Path, bucket: ObjectStore, note: Callable[[list[Copied]], Awaitable[None]]
    ) -> None:
        self._folder, self._root, self._bucket, self._note = folder, root, bucket, note
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._arrived: list[Copied] = []

    async def run(self, files: Iterable[ObjectStat], known: Mapping[str, Copied], outcome: Outcome) -> None:
        """Copy what is not `known` to be there as it is. What is damaged stays where it is."""

        async def one(stat: ObjectStat) -> None:
            there = known.get(stat.key)
            if there is None or (there.size_bytes, there.modified) != (stat.size, stat.modified):
                there = await self._copy(stat)
            if there is None:
                outcome.damaged.append(stat.key)
                return
            outcome.count += 1
            outcome.size_bytes += stat.size

        try:
            await _each(files, one)
        finally:
            await self._tell(1)

    async def _copy(self, stat: ObjectStat) -> Copied | None:
        async with self._turn(stat):
            digest, size = await self._folder.digest(stat.key)
            if is_damaged(stat.key, digest):
                return None
            await self._bucket.put(stat.key, self._root / stat.key)
        copied = Copied(stat.key, size, stat.modified, digest)
        self._arrived.append(copied)
        await self._tell(_NOTED_AT_ONCE)
        return copied

    async def _tell(self, least: int) -> None:
        if len(self._arrived) >= least:
            arrived, self._arrived = self._arrived, []
            await self._note(arrived)

    @asynccontextmanager
    async def _turn(self, stat: ObjectStat) -> AsyncIterator[None]:
        if stat.size <= _LARGE:
            yield
            return
        async with self._large:
            yield


async def digests(store: ObjectStore, keys: Iterable[str]) -> dict[str, str]:
    """The digests of files, read wholly; those that are not there are left out."""
    found: dict[str, str] = {}

    async def one(key: str) -> None:
        try:
            found[key], _ = await store.digest(key)
        except NotFound:
            return

    await _each(keys, one)
    return found


def is_damaged(key: str, digest: str) -> bool:
    """Whether a file has another digest than the one that its key ends with."""
    named = key.rpartition("/")[2]
    return _DIGEST.fullmatch(named) is not None and digest != f"sha256:{named}"


async def _each(things: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work on all, some at once; the first error is raised when nothing is under way any more."""
    waiting = iter(things)
    failed = False

    async def several() -> None:
        nonlocal failed
        try:
            for thing in waiting:
                if failed:
                    return
                await work(thing)
        except BaseException:
            failed = True
            raise

    for done in await asyncio.gather(*(several() for _ in range(_AT_ONCE)), return_exceptions=True):
        if isinstance(done, BaseException):
            raise done
