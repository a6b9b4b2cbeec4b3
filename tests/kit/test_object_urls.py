"""Signed URLs, and how the stores fail."""

import os
import socket
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
from pydantic import SecretStr

from bloomery_kit.errors import PermissionDenied, ResourceExhausted, Unavailable
from bloomery_kit.objects import FolderObjectStore, ObjectStore, S3ObjectStore, open_object_store
from bloomery_kit.settings import FolderStoreSettings, S3StoreSettings

KEY = "0f3a/sha256:abc"
MINUTE = timedelta(minutes=1)


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> FolderObjectStore:
    return FolderObjectStore(tmp_path, base_url="http://host:1/", signing_key=b"k" * 32, now=clock)


def taken_apart(url: str) -> tuple[str, dict[str, str]]:
    """Key and query of a folder store's URL, as the gateway sees them."""
    parts = urlsplit(url)
    assert (parts.netloc, parts.path[:7]) == ("host:1", "/blobs/")
    return unquote(parts.path[7:]), dict(parse_qsl(parts.query, keep_blank_values=True))


async def test_a_signed_read_allows_that_read(folder: FolderObjectStore) -> None:
    key, query = taken_apart(await folder.sign_get(KEY, expires=MINUTE, filename="Zelle & Co.png"))
    for method in ("GET", "HEAD"):
        grant = folder.verify(method, key, query)
        assert (grant.method, grant.key, grant.size, grant.filename) == ("GET", KEY, None, "Zelle & Co.png")


async def test_a_signed_write_allows_that_many_bytes(folder: FolderObjectStore) -> None:
    signed = await folder.sign_put(KEY, size=123, expires=MINUTE)
    grant = folder.verify("PUT", *taken_apart(signed.url))
    assert (grant.method, grant.key, grant.size) == ("PUT", KEY, 123)


async def test_a_signed_url_ends(folder: FolderObjectStore, clock: Clock) -> None:
    signed = await folder.sign_put(KEY, size=1, expires=MINUTE)
    assert signed.expires_at.timestamp() == clock.time + 60
    clock.time += 60
    with pytest.raises(PermissionDenied, match="expired"):
        folder.verify("PUT", *taken_apart(signed.url))


def changed(**fields: str) -> Callable[[dict[str, str]], dict[str, str]]:
    return lambda query: {**query, **fields}


@pytest.mark.parametrize(
    "tamper",
    [
        changed(expires="9999999999"),
        changed(size="5"),
        changed(method="DELETE"),
        changed(sig="0" * 64),
        changed(sig="ü"),
        changed(extra="1"),
        lambda query: {name: value for name, value in query.items() if name != "sig"},
        lambda _: {},
    ],
)
async def test_an_altered_url_is_refused(
    folder: FolderObjectStore, tamper: Callable[[dict[str, str]], dict[str, str]]
) -> None:
    key, query = taken_apart((await folder.sign_put(KEY, size=4, expires=MINUTE)).url)
    with pytest.raises(PermissionDenied, match="signature"):
        folder.verify("PUT", key, tamper(query))


async def test_a_url_holds_for_one_key_and_one_method(folder: FolderObjectStore) -> None:
    _, query = taken_apart(await folder.sign_get(KEY, expires=MINUTE))
    with pytest.raises(PermissionDenied):
        folder.verify("GET", "0f3a/sha256:abd", query)
    with pytest.raises(PermissionDenied, match="not PUT"):
        folder.verify("PUT", KEY, query)


async def test_another_key_signs_otherwise(folder: FolderObjectStore, tmp_path: Path) -> None:
    other = FolderObjectStore(tmp_path, base_url="http://host:1", signing_key=b"o" * 32)
    with pytest.raises(PermissionDenied):
        folder.verify("GET", *taken_apart(await other.sign_get(KEY, expires=MINUTE)))


def test_a_short_signing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        FolderObjectStore(tmp_path, base_url="http://host", signing_key=b"short")


async def test_a_full_disk_is_told_apart(
    folder: FolderObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every write to this device fails as on a full disk; the store removes what it could not write, so give it a link.
    full = tmp_path / ".tmp" / "full"
    full.symlink_to("/dev/full")
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", lambda **_: full.open("wb"))
    with pytest.raises(ResourceExhausted) as caught:
        await folder.put("a", b"x")
    assert caught.value.reason == "DISK_FULL"
    assert await folder.stat("a") is None
    assert not full.is_symlink()


async def test_what_a_crash_left_behind_is_removed_a_day_later(tmp_path: Path, clock: Clock) -> None:
    for age in (3600, 90_000):
        file = tmp_path / ".tmp" / str(age)
        file.parent.mkdir(exist_ok=True)
        file.touch()
        os.utime(file, (clock.time - age, clock.time - age))
    store = FolderObjectStore(tmp_path, base_url="http://host", signing_key=b"k" * 32, now=clock)
    assert [file.name for file in (tmp_path / ".tmp").iterdir()] == ["3600"]
    assert [stat async for stat in store.list()] == []


async def test_a_missing_folder_is_not_ready(folder: FolderObjectStore, tmp_path: Path) -> None:
    (tmp_path / ".tmp").rmdir()
    with pytest.raises(Unavailable):
        await folder.check_ready()


class TestS3:
    @pytest.fixture
    def settings(self, minio: object, bucket: str) -> S3StoreSettings:
        endpoint = f"http://{minio.endpoint}"  # type: ignore[attr-defined]
        return S3StoreSettings(
            endpoint=endpoint,
            public_endpoint=endpoint,
            bucket=bucket,
            access_key=minio.access_key,  # type: ignore[attr-defined]
            secret_key=minio.secret_key,  # type: ignore[attr-defined]
        )

    @pytest.fixture
    def s3(self, settings: S3StoreSettings) -> ObjectStore:
        return open_object_store(settings)

    async def test_presigned_requests_write_and_read(self, s3: ObjectStore) -> None:
        signed = await s3.sign_put(KEY, size=7, expires=MINUTE)
        async with httpx.AsyncClient() as client:
            (await client.put(signed.url, content=b"content", headers=dict(signed.headers))).raise_for_status()
            answer = await client.get(await s3.sign_get(KEY, expires=MINUTE, filename="Zelle.png"))
        assert answer.content == b"content"
        assert "Zelle.png" in answer.headers["content-disposition"]

    async def test_an_altered_presigned_url_is_refused(self, s3: ObjectStore) -> None:
        await s3.put(KEY, b"content")
        url = await s3.sign_get(KEY, expires=MINUTE)
        async with httpx.AsyncClient() as client:
            assert (await client.get(url.replace("abc", "abd"))).status_code == 403

    async def test_urls_are_signed_for_the_public_endpoint_without_asking_it(self, settings: S3StoreSettings) -> None:
        s3 = S3ObjectStore(settings.model_copy(update={"public_endpoint": "https://blobs.example.org"}))
        assert (await s3.sign_get(KEY, expires=MINUTE)).startswith("https://blobs.example.org/")
        assert (await s3.sign_put(KEY, size=1, expires=MINUTE)).url.startswith("https://blobs.example.org/")

    async def test_a_large_blob_goes_in_parts(self, s3: ObjectStore, tmp_path: Path) -> None:
        file = tmp_path / "large"
        with file.open("wb") as target:
            target.truncate(40 << 20)
        assert (await s3.put(KEY, file)).size == 40 << 20
        assert (await s3.digest(KEY))[1] == 40 << 20

    async def test_a_store_out_of_reach_is_unavailable(self, settings: S3StoreSettings) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            s3 = S3ObjectStore(settings.model_copy(update={"endpoint": f"http://127.0.0.1:{closed.getsockname()[1]}"}))
            for attempt in (s3.get(KEY), s3.stat(KEY), s3.put(KEY, b"x"), s3.check_ready()):
                with pytest.raises(Unavailable):
                    await attempt

    async def test_a_missing_bucket_is_not_ready(self, settings: S3StoreSettings) -> None:
        s3 = S3ObjectStore(settings.model_copy(update={"bucket": "another"}))
        with pytest.raises(Unavailable, match="another"):
            await s3.check_ready()

    async def test_refused_credentials_are_our_fault(self, settings: S3StoreSettings) -> None:
        s3 = S3ObjectStore(settings.model_copy(update={"secret_key": SecretStr("wrong")}))
        with pytest.raises(Exception, match="refuses our credentials"):
            await s3.get(KEY)


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://host/path", "ftp://host"])
def test_an_endpoint_is_a_url_without_a_path(endpoint: str) -> None:
    settings = S3StoreSettings(
        endpoint=endpoint,
        public_endpoint="http://host",
        bucket="b",
        access_key=SecretStr("a"),
        secret_key=SecretStr("s"),
    )
    with pytest.raises(ValueError, match="endpoint"):
        open_object_store(settings)


async def test_settings_choose_the_store(tmp_path: Path) -> None:
    settings = FolderStoreSettings(root=tmp_path, base_url="http://host", signing_key=SecretStr("k" * 32))
    assert isinstance(open_object_store(settings), FolderObjectStore)
