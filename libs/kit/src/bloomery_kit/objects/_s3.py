import asyncio
import hashlib
import io
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import quote, unquote, urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.error import InvalidResponseError, S3Error, ServerError

from bloomery_kit.errors import BloomeryError, Internal, NotFound, ResourceExhausted, Unavailable
from bloomery_kit.metrics import OBJECT_STORE_SECONDS, timed
from bloomery_kit.objects._protocol import Content, Data, ObjectStat, SignedRequest, check_key, missing
from bloomery_kit.rotating import lines, rotating
from bloomery_kit.settings import S3StoreSettings
from bloomery_kit.times import Clock, utc_now

T = TypeVar("T")
CHUNK = 1 << 20
_LIST_BATCH = 1000
_PART = 16 << 20
_THREADS = 16
_SPOOL = 8 << 20
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})
_FULL = frozenset({"XMinioStorageFull", "EntityTooLarge", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"})
_NO_CALL = frozenset({"NotImplemented", "MethodNotAllowed"})
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"})


class S3ObjectStore:
    """Blobs in one bucket of any S3, through plain calls that every one of them has."""

    def __init__(self, settings: S3StoreSettings, *, clock: Clock = utc_now) -> None:
        self._bucket = settings.bucket
        self._clock = clock
        self._client = _client(settings, settings.endpoint)
        self._signer = _client(settings, settings.public_endpoint)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")

    async def put(self, key: str, data: Data, *, content_type: str = "application/octet-stream") -> ObjectStat:
        """Write a blob; what has no known length goes through a temporary file."""
        check_key(key)
        with tempfile.SpooledTemporaryFile(_SPOOL) as spool:
            if isinstance(data, bytes):
                spool.write(data)
            elif not isinstance(data, Path):
                async for chunk in data:
                    await asyncio.to_thread(spool.write, chunk)
            with data.open("rb") if isinstance(data, Path) else spool as file:
                return await self._call(key, lambda: self._put(key, cast("BinaryIO", file), content_type))

    async def put_all(self, blobs: Mapping[str, Content]) -> None:
        """Write blobs, as many at once as there are threads; an error is raised when none is being written any more."""
        await self._each(lambda key: self._put(key, io.BytesIO(blobs[key].data), blobs[key].content_type), blobs)

    async def get(self, key: str) -> bytes:
        """The whole blob."""
        return b"".join([chunk async for chunk in self.open(key)])

    async def get_all(self, keys: Collection[str]) -> Mapping[str, bytes]:
        """The blobs, as many at once as there are threads."""
        return await self._each(self._get, keys)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The blob in chunks."""
        check_key(key)
        if length == 0:
            return
        response = await self._call(
            key, lambda: self._client.get_object(self._bucket, key, offset=offset, length=length or 0)
        )
        try:
            while chunk := await self._call(key, lambda: response.read(CHUNK)):
                yield chunk
        finally:
            response.close()
            response.release_conn()

    async def stat(self, key: str) -> ObjectStat | None:
        """What is stored under the key."""
        check_key(key)
        try:
            found = await self._call(key, lambda: self._client.stat_object(self._bucket, key))
        except NotFound:
            return None
        assert found.size is not None
        assert found.last_modified is not None
        return ObjectStat(key, found.size, found.last_modified)

    async def copy(self, source: str, target: str) -> None:
        """Copy a blob inside the bucket."""
        origin = CopySource(self._bucket, check_key(source))
        check_key(target)
        await self._call(source, lambda: self._client.copy_object(self._bucket, target, origin))

    async def join(self, sources: Sequence[str], target: str) -> None:
        """Copy blobs inside the bucket into the parts of one; where a server cannot, their bytes pass through here."""
        origins = [ComposeSource(self._bucket, check_key(source)) for source in sources]
        check_key(target)
        if not await self._call(sources[0], lambda: self._compose(origins, target)):
            await self.put(target, self._chunks(sources))

    async def move(self, source: str, target: str) -> None:
        """Copy, then delete: S3 has no rename."""
        await self.copy(source, target)
        if source != target:
            await self.delete(source)

    async def delete(self, key: str) -> None:
        """Remove a blob."""
        check_key(key)
        await self._call(key, lambda: self._client.remove_object(self._bucket, key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """All blobs under a prefix."""
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        while batch := await self._call(prefix, lambda: [*islice(found, _LIST_BATCH)]):
            for item in batch:
                assert item.object_name is not None
                assert item.size is not None
                assert item.last_modified is not None
                yield ObjectStat(item.object_name, item.size, item.last_modified)

    async def sign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        """A presigned URL; signing asks nobody."""
        headers: dict[str, str | list[str] | tuple[str]] | None = None
        if filename is not None:
            headers = {"response-content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}"}
        return self._signer.presigned_get_object(self._bucket, check_key(key), expires, response_headers=headers)

    def key_of(self, url: str) -> str | None:
        """The key in a presigned URL."""
        path = url.partition("?")[0]
        # As it is signed for any key: by the public address, with the bucket in the path or in the name.
        prefix = self._signer.presigned_get_object(self._bucket, "0").partition("?")[0][:-1]
        return unquote(path.removeprefix(prefix)) if path.startswith(prefix) else None

    async def sign_put(self, key: str, *, size: int, expires: timedelta) -> SignedRequest:  # noqa: ARG002 - unsigned
        """A presigned PUT; S3 holds nobody to the size."""
        url = self._signer.presigned_put_object(self._bucket, check_key(key), expires)
        return SignedRequest(url, self._clock() + expires)

    async def download(self, key: str, path: Path) -> None:
        """Write the blob to a file, atomically."""
        check_key(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        await self._call(key, lambda: self._client.fget_object(self._bucket, key, str(path)))

    async def digest(self, key: str) -> tuple[str, int]:
        """Digest and size of the blob, read in one thread."""
        check_key(key)
        return await self._call(key, lambda: self._digest(key))

    async def check_ready(self) -> None:
        """Raise Unavailable unless the bucket is there."""
        if not await self._call("", lambda: self._client.bucket_exists(self._bucket)):
            raise Unavailable("OBJECT_STORE_UNAVAILABLE", f"there is no bucket {self._bucket}", 10.0)

    def _compose(self, origins: Sequence[ComposeSource], target: str) -> bool:
        """Join blobs, unless the server has no call for it."""
        try:
            self._client.compose_object(self._bucket, target, list(origins))
        except S3Error as error:
            if error.code in _NO_CALL:
                return False
            raise
        except ValueError as error:
            # S3 holds nobody to the size that was signed: a part was written again, and is too small for one.
            raise missing(str(origins[0].object_name)) from error
        return True

    async def _chunks(self, sources: Sequence[str]) -> AsyncIterator[bytes]:
        for source in sources:
            async for chunk in self.open(source):
                yield chunk

    def _put(self, key: str, file: BinaryIO, content_type: str) -> ObjectStat:
        size = file.seek(0, 2)
        file.seek(0)
        part = _PART if size > _PART else 0
        self._client.put_object(self._bucket, key, file, size, content_type, part_size=part)
        return ObjectStat(key, size, self._clock())

    def _get(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def _digest(self, key: str) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        response = self._client.get_object(self._bucket, key)
        try:
            for chunk in response.stream(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        finally:
            response.close()
            response.release_conn()
        return f"sha256:{digest.hexdigest()}", size

    async def _each(self, work: Callable[[str], T], keys: Collection[str]) -> dict[str, T]:
        """What `work` answers for each key. Each thread gets several: to wake one takes as long as a small request."""
        waiting = [check_key(key) for key in keys]

        def some(part: Sequence[str]) -> list[tuple[str, T]]:
            return [(key, self._timed(key, work)) for key in part]

        parts = [part for start in range(_THREADS) if (part := waiting[start::_THREADS])]
        loop = asyncio.get_running_loop()
        working = (loop.run_in_executor(self._threads, some, part) for part in parts)
        found: dict[str, T] = {}
        for done in await asyncio.gather(*working, return_exceptions=True):
            if isinstance(done, BaseException):
                raise done
            found.update(done)
        return found

    def _timed(self, key: str, work: Callable[[str], T]) -> T:
        with timed(OBJECT_STORE_SECONDS, "s3"), _typed_errors(key):
            return work(key)

    async def _call(self, key: str, call: Callable[[], T]) -> T:
        with timed(OBJECT_STORE_SECONDS, "s3"), _typed_errors(key):
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)


class _Keys(Provider):
    """The keys that hold now; asked for each request."""

    def __init__(self, settings: S3StoreSettings) -> None:
        access, secret = settings.access_key, settings.secret_key
        if settings.access_key_file is not None and settings.secret_key_file is not None:
            files = (settings.access_key_file, settings.secret_key_file)
            self._now: Callable[[], Credentials] = rotating("object store", _keys, *files)
        else:
            assert access is not None
            assert secret is not None
            only = Credentials(access.get_secret_value(), secret.get_secret_value())
            self._now = lambda: only

    def retrieve(self) -> Credentials:
        """See the base class."""
        return self._now()


def _keys(access: bytes, secret: bytes) -> Credentials:
    return Credentials(lines(access)[0], lines(secret)[0])


def _client(settings: S3StoreSettings, endpoint: str) -> Minio:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise ValueError(f"an S3 endpoint is http://host:port or https://host, not {endpoint!r}")
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        maxsize=_THREADS,
        retries=urllib3.Retry(
            total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504], respect_retry_after_header=False
        ),
        ca_certs=str(settings.ca_certs) if settings.ca_certs else None,
    )
    return Minio(
        parts.netloc,
        credentials=_Keys(settings),
        secure=parts.scheme == "https",
        region=settings.region,
        http_client=pool,
    )


@contextmanager
def _typed_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (S3Error, urllib3.exceptions.HTTPError, InvalidResponseError, ServerError) as error:
        raise _error(key, error) from error


def _error(key: str, error: Exception) -> BloomeryError:
    code = error.code if isinstance(error, S3Error) else ""
    if code in _MISSING:
        return missing(key)
    if code in _FULL:
        return ResourceExhausted("DISK_FULL", "the object store has no space left; free some and repeat")
    if code in _DENIED:
        return Internal("the object store refuses our credentials", reason="OBJECT_STORE_DENIED")
    return Unavailable("OBJECT_STORE_UNAVAILABLE", "the object store does not answer as it should", 2.0)
