import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from bloomery_kit.errors import NotFound

Data = bytes | Path | AsyncIterator[bytes]
_KEY = re.compile(r"[A-Za-z0-9_=:-][A-Za-z0-9._=:-]*(/[A-Za-z0-9_=:-][A-Za-z0-9._=:-]*)*")
_KEY_LENGTH = 512
_NAME_LENGTH = 255
"""What file systems take between two slashes."""


@dataclass(frozen=True)
class ObjectStat:
    """A stored blob: its key, its size in bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Content:
    """The bytes of a small blob, and what they are."""

    data: bytes
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class SignedRequest:
    """A request that anyone holding it may send until `expires_at`."""

    url: str
    expires_at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Blobs by key.

    A key is a path of segments that start with no dot. Writes are atomic: a reader sees the old blob or the new one.
    Every method raises Unavailable if the store does not answer, ResourceExhausted DISK_FULL without space, NotFound
    where a blob must exist and does not, and ValueError for something that is not a key.
    """

    async def put(self, key: str, data: Data, *, content_type: str = "application/octet-stream") -> ObjectStat:
        """Write a blob, replacing an older one."""
        ...

    async def put_all(self, blobs: Mapping[str, Content]) -> None:
        """Write small blobs by key, faster than one by one; after an error or a crash some of them are written."""
        ...

    async def get(self, key: str) -> bytes:
        """The whole blob; for small ones."""
        ...

    async def get_all(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """Small blobs by key, faster than one by one."""
        ...

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The blob in chunks of at most 1 MiB, from byte `offset`, at most `length` bytes."""
        ...

    async def stat(self, key: str) -> ObjectStat | None:
        """What is stored under the key, None if nothing is."""
        ...

    async def copy(self, source: str, target: str) -> None:
        """Copy a blob inside the store."""
        ...

    async def join(self, sources: Sequence[str], target: str) -> None:
        """Write a blob of the bytes of others, in their order; each but the last has at least 5 MiB."""
        ...

    async def move(self, source: str, target: str) -> None:
        """Rename a blob; a crash in between may leave both."""
        ...

    async def delete(self, key: str) -> None:
        """Remove a blob; one that is gone is fine."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """All blobs whose key starts with the text `prefix`, in any order."""
        ...

    async def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        """A URL that reads the blob, saved by a browser as `filename`. Says nothing of whether it exists."""
        ...

    def key_of(self, url: str) -> str | None:
        """The key of the blob that a URL of `sign_get` reads, whether it still does or not; None for any other URL."""
        ...

    async def sign_put(self, key: str, *, size: int, expires: timedelta) -> SignedRequest:
        """A PUT request that writes `size` bytes; S3 does not hold the client to it, so check what arrived."""
        ...

    async def download(self, key: str, path: Path) -> None:
        """Write the blob to a file, atomically; what a crash leaves lies beside it, for the folder's owner to sweep."""
        ...

    async def digest(self, key: str) -> tuple[str, int]:
        """The `sha256:<64 hex>` digest and the size in bytes, from reading the blob."""
        ...

    async def check_ready(self) -> None:
        """Raise Unavailable unless the store answers."""
        ...


def check_key(key: str) -> str:
    """The key itself. Raise ValueError for an empty one, an escape from the root, or an odd character."""
    if len(key) > _KEY_LENGTH or not _KEY.fullmatch(key) or max(map(len, key.split("/"))) > _NAME_LENGTH:
        raise ValueError(f"not an object key: {key[:_KEY_LENGTH]!r}")
    return key


def missing(key: str) -> NotFound:
    """The error for a blob that is not there."""
    return NotFound("blob", key)
