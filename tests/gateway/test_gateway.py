"""Signed URLs of the folder object store, through a real server."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from pydantic import SecretStr

from bloomery_gateway.app import GatewayApp
from bloomery_gateway.problems import STATUS
from bloomery_gateway.settings import GatewaySettings
from bloomery_kit.metrics import REGISTRY
from bloomery_kit.objects import FolderObjectStore
from bloomery_kit.settings import FolderStoreSettings
from real_parts.disk import Filler
from real_parts.process import free_port

KEY = "uid/blob"
DATA = bytes(range(256)) * 8192
SIGNING_KEY = "k" * 32
HOUR = timedelta(hours=1)


def settings_for(root: Path) -> GatewaySettings:
    port = free_port()
    store = FolderStoreSettings(root=root, base_url=f"http://127.0.0.1:{port}", signing_key=SecretStr(SIGNING_KEY))
    return GatewaySettings(object_store=store, bind="127.0.0.1", http_port=port)


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySettings:
    return settings_for(tmp_path / "blobs")


@pytest.fixture
def store(settings: GatewaySettings) -> FolderObjectStore:
    """The store as another service of the installation opens it."""
    folder = settings.object_store
    return FolderObjectStore(folder.root, base_url=folder.base_url, signing_key=SIGNING_KEY.encode())


@pytest.fixture
def draining() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def gateway(settings: GatewaySettings, draining: asyncio.Event) -> AsyncIterator[GatewayApp]:
    app = await GatewayApp.open(settings, draining=draining)
    await app.start()
    yield app
    await app.close()


@pytest.fixture
async def http(gateway: GatewayApp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}") as client:
        yield client


async def test_every_answer_says_when_it_began(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/nowhere"):
        begun = datetime.now(UTC).replace(microsecond=0)
        headers = (await http.get(path)).headers
        (said,) = headers.get_list("date")
        assert begun <= parsedate_to_datetime(said) <= datetime.now(UTC)
        assert "server" not in headers


async def test_a_blob_goes_up_and_comes_down(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    upload = await store.sign_put(KEY, size=len(DATA), expires=HOUR)
    answer = await http.put(upload.url, content=DATA, headers=dict(upload.headers))
    assert answer.status_code == 204
    assert await store.get(KEY) == DATA

    down = await http.get(await store.sign_get(KEY, expires=HOUR))
    assert down.content == DATA
    assert down.headers["content-type"] == "application/octet-stream"
    assert "content-disposition" not in down.headers
    assert down.headers["x-content-type-options"] == "nosniff", "a browser must not take it for a page"


async def test_an_empty_blob_goes_up(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    upload = await store.sign_put(KEY, size=0, expires=HOUR)
    assert (await http.put(upload.url, content=b"")).status_code == 204
    assert await store.get(KEY) == b""


async def test_ranges_and_heads_are_answered(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    await store.put(KEY, DATA)
    url = await store.sign_get(KEY, expires=HOUR)

    part = await http.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, DATA[10:20])
    tail = await http.get(url, headers={"range": "bytes=-5"})
    assert tail.content == DATA[-5:]
    beyond = await http.get(url, headers={"range": f"bytes={len(DATA)}-"})
    assert beyond.status_code == 416
    head = await http.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(DATA)), b"")


async def test_a_download_has_the_name_that_it_was_signed_for(
    store: FolderObjectStore, http: httpx.AsyncClient
) -> None:
    await store.put(KEY, DATA)
    answer = await http.get(await store.sign_get(KEY, expires=HOUR, filename='Über "x".zip'))
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''%C3%9Cber%20%22x%22.zip"


def refused(answer: httpx.Response, status: int, category: str) -> dict[str, object]:
    body: dict[str, object] = answer.json()
    assert (answer.status_code, body["error"]) == (status, category)
    assert body.keys() == {"error", "message", "details", "retry_possible"}
    return body


async def test_a_body_of_another_size_is_refused_and_nothing_is_stored(
    store: FolderObjectStore, http: httpx.AsyncClient
) -> None:
    upload = await store.sign_put(KEY, size=100, expires=HOUR)

    async def chunks(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x" * 10

    for content in (b"x" * 99, b"x" * 101, chunks(9), chunks(11)):
        body = refused(await http.put(upload.url, content=content), 400, "INVALID_ARGUMENT")
        assert "100 bytes" in str(body["message"])
        assert await store.stat(KEY) is None


async def test_a_connection_cut_in_the_middle_leaves_nothing(
    store: FolderObjectStore, gateway: GatewayApp, settings: GatewaySettings
) -> None:
    upload = urlsplit((await store.sign_put(KEY, size=1000, expires=HOUR)).url)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"PUT {upload.path}?{upload.query} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode())
    writer.write(b"x" * 500)
    await writer.drain()
    temporary = settings.object_store.root / ".tmp"
    await eventually(lambda: any(temporary.iterdir()))
    writer.close()
    await eventually(lambda: not any(temporary.iterdir()))
    assert await store.stat(KEY) is None


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never became true")


def altered(url: str) -> Iterator[str]:
    yield url.partition("?")[0]
    yield url.replace("size=3", "size=4")
    yield url.replace(KEY, "uid/other")
    yield url.replace("sig=", "sig=0")
    yield url + "&filename=x"
    yield url.replace(KEY, "uid/%2e%2e/uid/blob")


async def test_an_altered_url_is_refused(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    upload = await store.sign_put(KEY, size=3, expires=HOUR)
    for url in altered(upload.url):
        refused(await http.put(url, content=b"abc"), 403, "PERMISSION_DENIED")
    refused(await http.get(upload.url), 403, "PERMISSION_DENIED")
    assert await store.stat(KEY) is None


async def test_an_expired_url_is_refused(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    await store.put(KEY, DATA)
    body = refused(await http.get(await store.sign_get(KEY, expires=timedelta(0))), 403, "PERMISSION_DENIED")
    assert "expired" in str(body["message"])


async def test_a_missing_blob_is_not_found(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    await store.put("uid/folder/blob", DATA)
    for key in (KEY, "uid/folder"):
        refused(await http.get(await store.sign_get(key, expires=HOUR)), 404, "NOT_FOUND")


async def test_requests_and_bytes_are_counted(store: FolderObjectStore, http: httpx.AsyncClient) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0

    puts = value("bloomery_http_requests_total", method="PUT", status="204")
    received, sent = value("bloomery_http_received_bytes_total"), value("bloomery_http_sent_bytes_total")
    await http.put((await store.sign_put(KEY, size=len(DATA), expires=HOUR)).url, content=DATA)
    await http.get(await store.sign_get(KEY, expires=HOUR))
    await http.request("PROPFIND", "/")

    assert value("bloomery_http_requests_total", method="PUT", status="204") == puts + 1
    assert value("bloomery_http_requests_total", method="other", status="404") >= 1
    assert value("bloomery_http_received_bytes_total") == received + len(DATA)
    assert value("bloomery_http_sent_bytes_total") >= sent + len(DATA)


async def test_unknown_paths_and_methods_get_the_same_kind_of_answer(http: httpx.AsyncClient) -> None:
    refused(await http.get("/nothing"), 404, "NOT_FOUND")
    answer = await http.delete(f"/blobs/{KEY}")
    refused(answer, 405, "METHOD_NOT_ALLOWED")


class TestSmallDisk:
    @pytest.fixture
    def settings(self, small_disk: Path) -> GatewaySettings:
        return settings_for(small_disk / "blobs")

    async def test_a_full_disk_is_told_and_leaves_nothing(
        self, store: FolderObjectStore, http: httpx.AsyncClient, settings: GatewaySettings, filler: Filler
    ) -> None:
        upload = await store.sign_put(KEY, size=len(DATA), expires=HOUR)
        await asyncio.to_thread(filler.fill)
        body = refused(await http.put(upload.url, content=DATA), 507, "RESOURCE_EXHAUSTED")
        assert body["retry_possible"] is False
        assert await store.stat(KEY) is None
        assert list((settings.object_store.root / ".tmp").iterdir()) == []

        filler.free()
        assert (await http.put(upload.url, content=DATA)).status_code == 204


async def test_health_follows_the_folder_and_the_drain(
    http: httpx.AsyncClient, settings: GatewaySettings, draining: asyncio.Event
) -> None:
    assert (await http.get("/healthz")).status_code == 200
    (settings.object_store.root / ".tmp").rmdir()
    body = refused(await http.get("/healthz"), 503, "UNAVAILABLE")
    assert body["retry_possible"] is True
    (settings.object_store.root / ".tmp").mkdir()
    draining.set()
    answer = await http.get("/healthz")
    refused(answer, 503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "1"


async def test_a_taken_port_is_an_error_at_start(
    gateway: GatewayApp, settings: GatewaySettings, draining: asyncio.Event
) -> None:
    second = await GatewayApp.open(settings, draining=draining)
    with pytest.raises(OSError, match="in use"):
        await second.start()
    await second.close()


async def test_the_process_of_its_own_serves_until_it_is_told_to_stop(
    settings: GatewaySettings, store: FolderObjectStore
) -> None:
    environment = {
        "BLOOMERY_OBJECT_STORE__KIND": "folder",
        "BLOOMERY_OBJECT_STORE__ROOT": str(settings.object_store.root),
        "BLOOMERY_OBJECT_STORE__BASE_URL": settings.object_store.base_url,
        "BLOOMERY_OBJECT_STORE__SIGNING_KEY": SIGNING_KEY,
        "BLOOMERY_BIND": "127.0.0.1",
        "BLOOMERY_HTTP_PORT": str(settings.http_port),
    }
    await store.put(KEY, DATA)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bloomery_gateway", env=environment)
    transport = httpx.AsyncHTTPTransport(retries=8)
    async with httpx.AsyncClient(transport=transport) as client:
        assert (await client.get(await store.sign_get(KEY, expires=HOUR))).content == DATA
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0


async def test_a_process_without_settings_names_what_is_missing() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bloomery_gateway", env={}, stderr=asyncio.subprocess.PIPE
    )
    _, complaint = await process.communicate()
    assert process.returncode == 1
    assert b"BLOOMERY_OBJECT_STORE" in complaint


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_of_an_error_has_its_status(code: grpc.StatusCode) -> None:
    assert 400 <= STATUS[code] < 600
