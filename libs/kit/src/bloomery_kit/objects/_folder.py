import asyncio
import errno
import hashlib
import io
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from bloomery_kit.disks import is_full, settle
from bloomery_kit.errors import NotFound, ResourceExhausted, Unavailable
from bloomery_kit.metrics import OBJECT_STORE_SECONDS, timed
from bloomery_kit.objects._protocol import Content, Data, ObjectStat, SignedRequest, check_key, missing
from bloomery_kit.objects._signing import Grant, UrlSigner

P = ParamSpec("P")
T = TypeVar("T")
CHUNK = 1 << 20
_LIST_BATCH = 1000
_WRITERS = 8
_LEFTOVER_SECONDS = 24 * 3600


class FolderObjectStore:
    """Blobs as files under `root`, with URLs that the gateway at `base_url` serves after `verify`."""

    def __init__(self, root: Path, *, base_url: str, signing_key: bytes, now: Callable[[], float] = time.time) -> None:
        self._root, self._now = root.absolute(), now
        self._temporary = self._root / ".tmp"
        self._temporary.mkdir(parents=True, exist_ok=True)
        _sweep(self._temporary, older_than=now() - _LEFTOVER_SECONDS)
        self._signer = UrlSigner(base_url, signing_key, now)
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="write")

    async def put(self, key: str, data: Data, *, content_type: str = "") -> ObjectStat:  # noqa: ARG002 - files carry no type
        """Write a blob through a temporary file, so that nobody sees half of one."""
        target = self._path(key)
        if isinstance(data, bytes):
            size = await _run(key, self._write_bytes, target, data)
        elif isinstance(data, Path):
            size = await _run(key, self._write_files, target, [data])
        else:
            size = await self._write_chunks(key, target, data)
        # Not what lies there now: somebody may have removed it already.
        return ObjectStat(key, size, datetime.fromtimestamp(self._now(), UTC))

    async def put_all(self, blobs: Mapping[str, Content]) -> None:
        """Write blobs, some at the same time, so that the disk is waited for less often."""
        targets = [(self._path(key), content.data) for key, content in blobs.items()]
        await _run(next(iter(blobs), ""), self._write_all, targets)

    async def get(self, key: str) -> bytes:
        """The whole blob."""
        return await _run(key, self._path(key).read_bytes)

    async def get_all(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """The blobs, read in one thread."""
        with timed(OBJECT_STORE_SECONDS, "folder"):
            return await asyncio.to_thread(_read_all, {key: self._path(key) for key in keys})

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The blob in chunks."""
        path = self._path(key)
        with await _run(key, lambda: path.open("rb")) as file:
            end = sys.maxsize if length is None else offset + length
            file.seek(offset)
            while chunk := await _run(key, file.read, min(CHUNK, end - file.tell())):
                yield chunk

    async def stat(self, key: str) -> ObjectStat | None:
        """What is stored under the key."""
        try:
            return await _run(key, _stat, key, self._path(key))
        except NotFound:
            return None

    async def copy(self, source: str, target: str) -> None:
        """Copy a blob."""
        await self.join([source], target)

    async def join(self, sources: Sequence[str], target: str) -> None:
        """Write the bytes of blobs one after the other, or none where the disk has no space for them all."""
        origins, goal = [self._path(source) for source in sources], self._path(target)
        await _run(sources[0], self._write_files, goal, origins)

    async def move(self, source: str, target: str) -> None:
        """Rename a blob."""
        origin, goal = self._path(source), self._path(target)
        await _run(source, _rename, origin, goal)

    async def delete(self, key: str) -> None:
        """Remove a blob; folders stay."""
        path = self._path(key)
        await _run(key, lambda: path.unlink(missing_ok=True))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """All blobs under a prefix."""
        walk = self._walk(prefix)
        while batch := await _run(prefix, lambda: [*islice(walk, _LIST_BATCH)]):
            for stat in batch:
                yield stat

    async def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        """A URL that the gateway serves."""
        return self._signer.sign(Grant("GET", check_key(key), filename=filename), expires).url

    def key_of(self, url: str) -> str | None:
        """The key in a URL of the gateway."""
        return self._signer.key_of(url)

    async def sign_put(self, key: str, *, size: int, expires: timedelta) -> SignedRequest:
        """A PUT request that the gateway takes, for exactly `size` bytes."""
        return self._signer.sign(Grant("PUT", check_key(key), size=size), expires)

    def verify(self, method: str, key: str, query: Mapping[str, str]) -> Grant:
        """What a signed URL allows. Raise PermissionDenied if it was not signed here, was altered, or has expired."""
        return self._signer.verify(method, key, query)

    async def download(self, key: str, path: Path) -> None:
        """Copy the blob to a file, atomically."""
        await _run(key, _copy_beside, self._path(key), path)

    async def digest(self, key: str) -> tuple[str, int]:
        """Digest and size of the blob."""
        return await _run(key, _digest, self._path(key))

    async def check_ready(self) -> None:
        """Raise Unavailable unless the folder is there and takes files."""
        if not await asyncio.to_thread(os.access, self._temporary, os.W_OK):
            raise Unavailable("OBJECT_STORE_UNAVAILABLE", "the blob folder is missing or read-only")

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _walk(self, prefix: str) -> Iterator[ObjectStat]:
        start = self._root / prefix.rpartition("/")[0]
        for folder, folders, files in os.walk(start, onerror=_unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                key = path.relative_to(self._root).as_posix()
                if key.startswith(prefix):
                    with suppress(FileNotFoundError):
                        yield _stat(key, path)

    def _write_bytes(self, target: Path, data: bytes) -> int:
        with _replacing(target, self._temporary) as file:
            return file.write(data)

    def _write_all(self, blobs: Sequence[tuple[Path, bytes]]) -> None:
        folders = {target.parent for target, _ in blobs}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        # The disk answers many who wait at once with one write of its journal.
        writing = [self._writers.submit(self._write_some, blobs[start::_WRITERS]) for start in range(_WRITERS)]
        wait(writing)
        for written in writing:
            written.result()
        for folder in folders:
            settle(folder)

    def _write_some(self, blobs: Sequence[tuple[Path, bytes]]) -> None:
        # A text: paths made of paths take longer than all else here, but for the disk.
        part = f"{self._temporary}/{uuid.uuid4().hex}"
        for target, data in blobs:
            try:
                with open(part, "xb", buffering=0, opener=_private) as file:
                    _write_through(file, data)
                os.replace(part, target)  # noqa: PTH105
            except OSError:
                with suppress(OSError):
                    os.unlink(part)  # noqa: PTH108
                raise

    def _write_files(self, target: Path, sources: Sequence[Path]) -> int:
        # A copy that does not fit would take the disk's last byte from whoever else writes there.
        if sum(source.stat().st_size for source in sources) > shutil.disk_usage(self._root).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with _replacing(target, self._temporary) as file:
            for source in sources:
                with source.open("rb") as origin:
                    shutil.copyfileobj(origin, file, CHUNK)
            return file.tell()

    async def _write_chunks(self, key: str, target: Path, chunks: AsyncIterator[bytes]) -> int:
        file = await _run(key, _temporary_file, self._temporary)
        try:
            async for chunk in chunks:
                await _run(key, file.write, chunk)
            size = file.tell()
            await _run(key, _commit, file, target)
            return size
        finally:
            await asyncio.to_thread(_discard, file)


def _read_all(paths: Mapping[str, Path]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for key, path in paths.items():
        # Without a buffer, which takes longer to make than a small file to read.
        with _typed_errors(key), path.open("rb", buffering=0) as file:
            found[key] = file.readall()
    return found


def _temporary_file(folder: Path) -> IO[bytes]:
    return tempfile.NamedTemporaryFile(dir=folder, delete=False)


def _sweep(folder: Path, *, older_than: float) -> None:
    for leftover in folder.iterdir():
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < older_than:
                leftover.unlink()


@contextmanager
def _replacing(target: Path, folder: Path) -> Iterator[IO[bytes]]:
    file = _temporary_file(folder)
    try:
        yield file
        _commit(file, target)
    finally:
        _discard(file)


def _commit(file: IO[bytes], target: Path) -> None:
    file.flush()
    _settle(file)
    _rename(Path(file.name), target)


def _settle(file: IO[bytes]) -> None:
    os.fsync(file.fileno())
    file.close()


def _private(path: str, flags: int) -> int:
    """Opens a file as all temporary ones are: nobody else on the machine may read it."""
    return os.open(path, flags, 0o600)


def _write_through(file: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _discard(file: IO[bytes]) -> None:
    # Closing flushes, which fails again on a full disk; what cannot be removed is swept one day.
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        Path(file.name).unlink(missing_ok=True)


def _unless_gone(error: OSError) -> None:
    """A folder that is not there holds nothing; one that cannot be read may hold anything."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _rename(source: Path, target: Path) -> None:
    if not source.is_file():
        raise FileNotFoundError(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)
    settle(target.parent)


def _copy_beside(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as origin, _replacing(target, target.parent) as file:
        shutil.copyfileobj(origin, file, CHUNK)


def _stat(key: str, path: Path) -> ObjectStat:
    if path.is_dir():
        raise FileNotFoundError(path)
    found = path.stat()
    return ObjectStat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{digest}", file.tell()


async def _run(key: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with timed(OBJECT_STORE_SECONDS, "folder"), _typed_errors(key):
        return await asyncio.to_thread(work, *args, **kwargs)


@contextmanager
def _typed_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise missing(key) from error
    except OSError as error:
        if is_full(error):
            raise ResourceExhausted("DISK_FULL", "the blob folder has no space left; free some and repeat") from error
        raise Unavailable("OBJECT_STORE_UNAVAILABLE", "the blob folder cannot be used") from error
