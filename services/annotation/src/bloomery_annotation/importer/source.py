"""The files of an import as the readers of the vision library want them."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from bloomery_annotation.importer.files import SMALL, Files
from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key, hex_of
from bloomery_kit.objects import ObjectStore
from bloomery_vision.images import ImageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
_AT_ONCE = 32
"""Small files that are fetched at the same time."""


class StoppedError(Exception):
    """Nobody wants to read any more."""


class BlobSource:
    """Files in the object store by path, for a reader in a thread other than the event loop's.

    Images are known from when they were uploaded, so nothing is read but annotation files; large ones are fetched to
    `folder` first. While small ones are read in their order, those that follow are on their way already. Hidden files
    do not count.
    """

    def __init__(
        self, files: Files, *, objects: ObjectStore, project_uid: str, folder: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._files = files
        self._objects, self._project_uid, self._folder, self._loop = objects, project_uid, folder, loop
        self._stopped = threading.Event()
        self._ahead: dict[str, Future[bytes]] = {}
        self._next = ""

    def stop(self) -> None:
        """Let every further read of a file raise StoppedError."""
        self._stopped.set()

    def names(self) -> Sequence[str]:
        """Sorted."""
        return self._files.names()

    def open(self, name: str) -> BinaryIO:
        """The content of a file. Raise OSError for one that was not sent, and what the object store raises."""
        if self._stopped.is_set():
            raise StoppedError
        blob = self._blob(name)
        if not blob.digest:
            raise OSError(f"{name} was not sent")
        if blob.size_bytes <= SMALL:
            return io.BytesIO(self._read(name))
        path = self._folder / hex_of(blob.digest)
        if not path.exists():
            self._begin(self._objects.download(blob_key(self._project_uid, blob.digest), path)).result()
        return io.BufferedReader(_Guarded(path, self._stopped))

    def image_size(self, name: str) -> tuple[int, int]:
        """What was found when it was uploaded. Raise ImageError if it is not an image that can be used."""
        blob = self._blob(name)
        if blob.problem:
            raise ImageError(blob.problem.code, blob.problem.message, blob.problem.hint)
        return blob.width, blob.height

    def _blob(self, name: str) -> Blob:
        blob = self._files.get(name)
        assert blob is not None, f"{name} is none of the names"
        return blob

    def _read(self, name: str) -> bytes:
        content = self._ahead.pop(name, None) or self._fetch(name)
        following = self._files.labels_behind(name, _AT_ONCE)
        if name == self._next:
            self._ahead |= {one: self._fetch(one) for one in following if one not in self._ahead}
        else:
            self._forget()
        self._next = following[0] if following else ""
        return content.result()

    def _forget(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()

    def _fetch(self, name: str) -> "Future[bytes]":
        return self._begin(self._objects.get(blob_key(self._project_uid, self._blob(name).digest)))

    def _begin(self, work: Coroutine[object, object, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)


class _Guarded(io.FileIO):
    """A file that a reader may take minutes for, and that can be stopped."""

    def __init__(self, path: Path, stopped: threading.Event) -> None:
        super().__init__(path)
        self._stopped = stopped

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self._stopped.is_set():
            raise StoppedError
        return super().readinto(buffer)
