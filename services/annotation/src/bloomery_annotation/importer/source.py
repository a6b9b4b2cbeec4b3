"""The files of an import as the readers of the vision library want them."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key, hex_of
from bloomery_kit.objects import ObjectStore
from bloomery_vision.images import ImageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
_IN_MEMORY = 1 << 20


class StoppedError(Exception):
    """Nobody wants to read any more."""


class BlobSource:
    """Files in the object store by path, for a reader in a thread other than the event loop's.

    Images are known from when they were uploaded, so nothing is read but annotation files; large ones are fetched to
    `folder` first. Hidden files do not count.
    """

    def __init__(
        self,
        files: Mapping[str, Blob],
        *,
        objects: ObjectStore,
        project_uid: str,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._files = {path: files[path] for path in sorted(files) if not _hidden(path)}
        self._objects, self._project_uid, self._folder, self._loop = objects, project_uid, folder, loop
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let every further read of a file raise StoppedError."""
        self._stopped.set()

    def names(self) -> Sequence[str]:
        """Sorted."""
        return list(self._files)

    def open(self, name: str) -> BinaryIO:
        """The content of a file. Raise what the object store raises."""
        if self._stopped.is_set():
            raise StoppedError
        blob = self._files[name]
        key = blob_key(self._project_uid, blob.digest)
        if blob.size_bytes <= _IN_MEMORY:
            return io.BytesIO(self._wait(self._objects.get(key)))
        path = self._folder / hex_of(blob.digest)
        if not path.exists():
            self._wait(self._objects.download(key, path))
        return io.BufferedReader(_Guarded(path, self._stopped))

    def image_size(self, name: str) -> tuple[int, int]:
        """What was found when it was uploaded. Raise ImageError if it is not an image that can be used."""
        blob = self._files[name]
        if blob.problem:
            raise ImageError(blob.problem.code, blob.problem.message, blob.problem.hint)
        return blob.width, blob.height

    def _wait(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Guarded(io.FileIO):
    """A file that a reader may take minutes for, and that can be stopped."""

    def __init__(self, path: Path, stopped: threading.Event) -> None:
        super().__init__(path)
        self._stopped = stopped

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if self._stopped.is_set():
            raise StoppedError
        return super().readinto(buffer)


def _hidden(path: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.split("/"))
