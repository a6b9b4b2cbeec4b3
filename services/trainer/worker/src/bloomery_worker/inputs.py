"""Gets what a job works on into the cache: the manifest, its images, base weights, a checkpoint."""

import asyncio
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import httpx

from bloomery.common.v1 import SignedRequest
from bloomery.training.v1 import SignedInput
from bloomery_vision.manifest import ManifestIndex, ManifestRow
from bloomery_worker.blobs import GoneError, WrongBytesError, download
from bloomery_worker.cache import BlobCache
from bloomery_worker.client import WorkerClient
from bloomery_worker.failures import DataError, DiskFullError, TransferError
from bloomery_worker.retrying import Policy, again, at_most

T = TypeVar("T")

PAGE = 200
SLICE = 2_000
PARALLEL = 8
RESERVE_BYTES = 256 << 20
POLICY = Policy(patience=600.0, first=0.5, longest=30.0)
"""For one file."""
_WRONG_BYTES_TRIES = 3

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Bytes to get. `request` is a download that is signed already."""

    name: str
    digest: str
    size_bytes: int
    logical_key: str
    request: SignedRequest | None = None


def wanted_input(given: SignedInput, name: str) -> Wanted:
    """A signed input of the contract."""
    artifact = given.artifact
    return Wanted(name, artifact.digest, artifact.size_bytes, artifact.logical_key, given.get)


def wanted_image(row: ManifestRow) -> Wanted:
    """The image of a manifest's row."""
    return Wanted(row.file_name, row.digest, row.size_bytes, row.logical_key)


class Inputs:
    """Downloads into the cache, several at a time, and again where it is worth it."""

    def __init__(self, cache: BlobCache, client: WorkerClient, http: httpx.AsyncClient) -> None:
        self._cache, self._client, self._http = cache, client, http
        self._slots = asyncio.Semaphore(PARALLEL)

    async def one(self, wanted: Wanted) -> Path:
        """Gets one file and returns where it lies."""
        await self.all([wanted])
        return self._cache.path(wanted.digest)

    async def all(self, wanted: Sequence[Wanted], *, advance: Advance | None = None, dispensable: bool = False) -> None:
        """Gets what the cache lacks. `advance` is told how many bytes of how many are here.

        They then stay for as long as the cache is open. Of what is `dispensable` those are left out that are gone, or
        damaged.

        Raises:
            DiskFullError: they would not fit.
            DataError: the bytes of a file are not those that the dataset version names.
            TransferError: the object store did not answer for too long.
        """
        missing = await self._missing(wanted)
        total, done = sum(one.size_bytes for one in missing), 0
        if total:
            await asyncio.to_thread(self._make_room, len(wanted), len(missing), total)
        for page in pages(missing, PAGE):
            running = await self._started(page, dispensable)
            try:
                for finished in asyncio.as_completed(running):
                    done += (await finished).size_bytes
                    if advance is not None:
                        advance(done, total)
            finally:
                for one in running:
                    one.cancel()

    async def _missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        """What the cache lacks, once each; all of it is pinned before anybody looks."""
        missing: dict[str, Wanted] = {}
        # Of a million files a disk knows only after seconds; in slices, so that nobody waits for a thread at a stop.
        for page in pages(wanted, SLICE):
            missing |= await asyncio.to_thread(self._look_for, page)
        return list(missing.values())

    def _look_for(self, wanted: Sequence[Wanted]) -> dict[str, Wanted]:
        self._cache.pin(one.digest for one in wanted)
        return {one.digest: one for one in wanted if not self._cache.has(one.digest, one.size_bytes)}

    async def _started(self, page: Sequence[Wanted], dispensable: bool) -> list[asyncio.Task[Wanted]]:
        unsigned = [one for one in page if one.request is None]
        keys = [one.logical_key for one in unsigned]
        signed = dict(zip(keys, await self._client.sign_inputs(keys), strict=True)) if keys else {}
        requests = [one.request or signed[one.logical_key] for one in page]
        pairs = zip(page, requests, strict=True)
        return [asyncio.create_task(self._get(one, request, dispensable)) for one, request in pairs]

    async def _get(self, wanted: Wanted, request: SignedRequest, dispensable: bool) -> Wanted:
        signed = iter([request])

        async def transfer() -> None:
            fresh = next(signed, None) or (await self._client.sign_inputs([wanted.logical_key]))[0]
            part = self._cache.new_file(wanted.digest)
            await download(self._http, fresh.url, dict(fresh.headers), digest=wanted.digest, target=part)
            self._cache.keep(part, wanted.digest)

        async with self._slots:
            try:
                await again(transfer, at_most(_WRONG_BYTES_TRIES, _is_wrong, _is_transfer), POLICY)
            except WrongBytesError as problem:
                if not dispensable:
                    raise _damaged(wanted) from problem
            except GoneError:
                if not dispensable:
                    raise
        return wanted

    def _make_room(self, wanted: int, missing: int, needed: int) -> None:
        disk = shutil.disk_usage(self._cache.root)
        lacking = needed + RESERVE_BYTES - disk.free
        if lacking <= 0 or self._cache.make_room(lacking) >= lacking:
            return
        free = shutil.disk_usage(self._cache.root).free
        raise DiskFullError(
            f"{missing:,} of {wanted:,} inputs are still to be fetched; with {_gib(needed)} they do not fit on the"
            f" cache's disk, where {_gib(free)} of {_gib(disk.total)} are free",
            hint="free disk space on the worker's machine, give it a larger disk, or take a smaller dataset version",
            retriable=needed + RESERVE_BYTES <= disk.total,
        )


def wanted_shards(index: ManifestIndex) -> list[Wanted]:
    """The shards of a manifest."""
    return [
        Wanted(f"shard {number}", shard.digest, shard.size_bytes, shard.logical_key)
        for number, shard in enumerate(index.shards)
    ]


def _is_wrong(problem: Exception) -> bool:
    return isinstance(problem, WrongBytesError | GoneError)


def _is_transfer(problem: Exception) -> bool:
    return isinstance(problem, TransferError)


def _damaged(wanted: Wanted) -> DataError:
    hint = "upload the image again, or build a version without it"
    return DataError("stored bytes are damaged", hint=hint, items=[wanted.name])


def pages(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`."""
    left = iter(items)
    while page := list(islice(left, size)):
        yield page


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
