"""Model directories fetched by signed requests: whole and checked, or not there at all."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import httpx

from bloomery_inference.files import digest_of, inside, remove
from bloomery_kit.disks import is_full, settle
from bloomery_kit.errors import Internal, NotFound, ResourceExhausted, Unavailable
from bloomery_kit.names import new_uid

if TYPE_CHECKING:
    from bloomery_inference.agent.model import PlannedFile, PlannedModel

_CHUNK = 1 << 20
_TIMEOUT = httpx.Timeout(10.0, read=60.0)
_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.[0-9a-f]{32}")
"""A model on its way into a folder, or out of it: see `remove` of files.py, and Triton's runtime."""
_GONE = frozenset({404, 410})


class WrongBytes(Internal):
    """The object store gave other bytes than those that were recorded."""

    def __init__(self, file: PlannedFile, what: str) -> None:
        super().__init__(f"{file.file_name} is not what was recorded: {what}", reason="DIGEST_MISMATCH")


@dataclass(frozen=True)
class StagedFiles:
    """The files of a model that is staged, as a runtime asks for them."""

    path: Path

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[Path]:
        """See ModelFiles."""
        yield self.path


class Staging:
    """Model directories in the folder `root`, each under its uid; what begins with a dot is not whole yet."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # A proxy of the environment does not reach this machine's own server.
        own = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        self._http = httpx.AsyncClient(timeout=_TIMEOUT, mounts=own)
        self._checked: set[str] = set()

    async def close(self) -> None:
        """Give the connections back."""
        await self._http.aclose()

    async def fetch(self, model: PlannedModel) -> StagedFiles:
        """The whole directory of a model.

        Raise NotFound where a file is gone, Internal DIGEST_MISMATCH, ResourceExhausted DISK_FULL, and Unavailable
        where trying again may help, after a while or with requests that are signed anew.
        """
        target = self._root / model.uid
        if model.uid not in self._checked:
            if not await asyncio.to_thread(_is_whole, model, target):
                await self._fetch(model, target)
            self._checked.add(model.uid)
        return StagedFiles(target)

    async def staged(self) -> frozenset[str]:
        """The uids of the models that are here."""
        return frozenset(await asyncio.to_thread(_folders, self._root))

    async def remove(self, uid: str) -> None:
        """Forget a model's files; those that are not here are forgotten already."""
        self._checked.discard(uid)
        await asyncio.to_thread(remove, self._root / uid)

    async def _fetch(self, model: PlannedModel, target: Path) -> None:
        partial = self._root / f".{model.uid}.{new_uid()}"
        try:
            with _room(self._root, model):
                for file in model.files:
                    await self._fetch_file(file, partial)
                await asyncio.to_thread(_publish, partial, target)
        finally:
            await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)

    async def _fetch_file(self, file: PlannedFile, folder: Path) -> None:
        path = folder / inside(file.file_name)
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        try:
            await self._receive(file, path)
        except WrongBytes:
            # On their way, perhaps: what is wrong in the store comes wrong again.
            await self._receive(file, path)

    async def _receive(self, file: PlannedFile, path: Path) -> None:
        seen, size = hashlib.sha256(), 0
        try:
            async with self._http.stream("GET", file.url, headers=dict(file.headers)) as answer:
                _check(answer, file)
                with await asyncio.to_thread(path.open, "wb") as stream:
                    async for chunk in answer.aiter_bytes(_CHUNK):
                        size += len(chunk)
                        if size > file.size_bytes:
                            raise WrongBytes(file, f"more than {file.size_bytes} bytes came")
                        seen.update(chunk)
                        await asyncio.to_thread(stream.write, chunk)
                    await asyncio.to_thread(_sync, stream)
        except httpx.TransportError as error:
            raise _unreachable(file, f"{type(error).__name__}: {error}") from error
        if (digest := f"sha256:{seen.hexdigest()}") != file.digest:
            raise WrongBytes(file, f"{size} bytes with the digest {digest} came instead of {file.digest}")


def _check(answer: httpx.Response, file: PlannedFile) -> None:
    if answer.status_code in _GONE:
        raise NotFound("file", file.file_name, hint="its object was deleted from the object store")
    if not answer.is_success:
        raise _unreachable(file, f"it answered {answer.status_code} {answer.reason_phrase}")


def _unreachable(file: PlannedFile, why: str) -> Unavailable:
    return Unavailable("OBJECT_STORE_UNAVAILABLE", f"the object store does not give {file.file_name}: {why}")


@contextmanager
def _room(root: Path, model: PlannedModel) -> Iterator[None]:
    try:
        free = shutil.disk_usage(root).free
        if free < model.size_bytes:
            raise _no_room(root, model, free)
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise _no_room(root, model, shutil.disk_usage(root).free) from error


def _no_room(root: Path, model: PlannedModel, free: int) -> ResourceExhausted:
    text = f"no room for the model: it takes {model.size_bytes} bytes, {free} are free in {root}; free some space there"
    return ResourceExhausted("DISK_FULL", text)


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _publish(partial: Path, target: Path) -> None:
    """Put a whole directory into its place, so that it is there after a crash of the machine, too."""
    for folder in (partial, *(path for path in partial.rglob("*") if path.is_dir())):
        settle(folder)
    remove(target)
    partial.rename(target)
    settle(target.parent)


def _is_whole(model: PlannedModel, folder: Path) -> bool:
    return folder.is_dir() and all(_is_file(file, folder / inside(file.file_name)) for file in model.files)


def _is_file(file: PlannedFile, path: Path) -> bool:
    return path.is_file() and path.stat().st_size == file.size_bytes and digest_of(path) == file.digest


def _folders(root: Path) -> Collection[str]:
    return [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]


def sweep(folder: Path) -> None:
    """Remove the models that a crash has left half placed in a folder, and nothing else that is hidden there."""
    for path in folder.iterdir():
        if _PARTIAL.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
