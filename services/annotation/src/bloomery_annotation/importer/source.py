"""The files of an import as the readers of the vision library want them."""

import asyncio
import io
import threading
from collections.abc import Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from bloomery_annotation.contents import Contents
from bloomery_annotation.importer.files import SMALL, Files
from bloomery_annotation.model import Blob
from bloomery_annotation.names import hex_of
from bloomery_vision.images import ImageError, probe

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
_AT_ONCE = 32
"""Small files that are fetched together."""
_KEPT = 16 << 20
"""Bytes of small files that stay in memory: a plan looks at most of them, and the reader again."""


class StoppedError(Exception):
    """Nobody wants to read any more."""


class BlobSource:
    """Uploaded files by path, for a reader in a thread other than the event loop's.

    Images are known from when they were uploaded, so nothing is read but annotation files; large ones are fetched to
    `folder` first. While small ones are read in their order, those that follow are on their way already. Hidden files
    do not count.
    """

    def __init__(
        self, files: Files, *, contents: Contents, project_uid: str, folder: Path, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._files = files
        self._contents, self._project_uid, self._folder, self._loop = contents, project_uid, folder, loop
        self._stopped = threading.Event()
        self._ahead: dict[str, Future[Mapping[str, bytes]]] = {}
        self._next = ""
        self._kept: dict[str, bytes] = {}
        self._room = _KEPT

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
            return io.BytesIO(self._small(name, blob.digest))
        path = self._folder / hex_of(blob.digest)
        if not path.exists():
            self._begin(self._contents.download(self._project_uid, blob.digest, path)).result()
        return io.BufferedReader(_Guarded(path, self._stopped))

    def image_size(self, name: str) -> tuple[int, int]:
        """What was found when it was uploaded. Raise ImageError if it is not an image that can be used."""
        blob = self._blob(name)
        if blob.problem:
            raise ImageError(blob.problem.code, blob.problem.message, blob.problem.hint)
        return blob.width, blob.height

    def orientation(self, name: str) -> int:
        """Fetches the image: few are asked about. Raise what the object store raises."""
        digest = self._blob(name).digest
        (content,) = self._fetch([digest]).result().values()
        return probe(content, verify=False).orientation

    def _blob(self, name: str) -> Blob:
        blob = self._files.get(name)
        assert blob is not None, f"{name} is none of the names"
        return blob

    def _small(self, name: str, digest: str) -> bytes:
        # The first ones stay, so that whoever reads all in order again finds these.
        if (content := self._kept.get(name)) is None:
            content = self._read(name, digest)
            if len(content) <= self._room:
                self._kept[name] = content
                self._room -= len(content)
        return content

    def _read(self, name: str, digest: str) -> bytes:
        in_order = name in self._ahead or name == self._next
        batch = self._ahead.pop(name, None) or self._fetch([digest])
        if in_order:
            self._look_ahead(name)
        else:
            self._forget()
        self._next = next(iter(self._ahead or self._behind(name)), "")
        if batch.exception():
            # It may be another file's.
            batch = self._fetch([digest])
        return batch.result()[digest]

    def _look_ahead(self, name: str) -> None:
        if len(self._ahead) >= _AT_ONCE:
            return
        last = next(reversed(self._ahead), name)
        if following := self._behind(last):
            self._ahead |= dict.fromkeys(following, self._fetch(set(following.values())))

    def _behind(self, name: str) -> Mapping[str, str]:
        """The digests of those of the next small files that must be fetched, by path."""
        following = self._files.labels_behind(name, _AT_ONCE)
        return {path: digest for path, digest in following.items() if path not in self._kept}

    def _forget(self) -> None:
        for batch in self._ahead.values():
            batch.cancel()
        self._ahead.clear()

    def _fetch(self, digests: Collection[str]) -> "Future[Mapping[str, bytes]]":
        return self._begin(self._contents.get_all(self._project_uid, digests))

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
