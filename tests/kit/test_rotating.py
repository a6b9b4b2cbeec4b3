"""Credentials in files that are exchanged while servers and clients run."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin
from pydantic import SecretStr

from bloomery_kit.auth import OwnerToken, service_token
from bloomery_kit.clients import channel, neighbour
from bloomery_kit.credentials import owner_tokens
from bloomery_kit.errors import Internal
from bloomery_kit.objects import S3ObjectStore
from bloomery_kit.rotating import RELOADS, Rotating, authorities, lines, look_at_all, rotating
from bloomery_kit.server import ServiceHost, options_from
from bloomery_kit.settings import FolderStoreSettings, S3StoreSettings, ServiceSettings
from real_parts.minio import MinioServer
from tests.certificates import Authority, Mounted
from tests.kit.echo import SERVICE, EchoServicer, register

HOST = "DNS:localhost"


def counted(kind: str, outcome: str) -> float:
    return float(RELOADS.labels(kind, outcome)._value.get())


def settings(folder: Path, **files: Path | SecretStr) -> ServiceSettings:
    store = FolderStoreSettings(root=folder, base_url="", signing_key=SecretStr(""))
    return ServiceSettings(database_url="", object_store=store, bind="127.0.0.1", port=0, **files)  # type: ignore[arg-type]


@asynccontextmanager
async def served(about: ServiceSettings, servicer: EchoServicer | None = None) -> AsyncIterator[str]:
    host = ServiceHost(options_from(about), authenticator=OwnerToken(owner_tokens(about)))
    host.add(register, servicer or EchoServicer(), SERVICE)
    port = await host.start()
    try:
        yield f"localhost:{port}"
    finally:
        await host.stop()


def method(on: grpc.aio.Channel, name: str) -> Any:
    kind = on.unary_stream if name == "Watch" else on.unary_unary
    return kind(f"/{SERVICE}/{name}", StringValue.SerializeToString, StringValue.FromString)


async def ask(on: grpc.aio.Channel, name: str = "Answer") -> str:
    answer: StringValue = await method(on, name)(StringValue(value="x"), timeout=10)
    return answer.value


async def test_a_token_is_exchanged_while_old_and_new_hold(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "token", token=b"old\n")
    about = settings(tmp_path, token_file=mounted["token"])
    async with served(about) as address, neighbour(address, about) as other:
        accepted = {b"old": {"old"}, b"old\nnew": {"old", "new"}, b"new\nold": {"old", "new"}, b"new": {"new"}}
        for content, good in accepted.items():
            mounted.exchange(token=content)
            await look_at_all()
            assert await ask(other, "Serve") == "heard x"
            for token in ("old", "new", "neither"):
                async with channel(address, token=token) as owner:
                    if token in good:
                        await ask(owner)
                    else:
                        with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                            await ask(owner)
            async with channel(address, token=service_token("old")) as former:
                if "old" in good:
                    await ask(former, "Serve")
    assert counted("token", "loaded") >= 3


async def test_authority_and_certificate_are_exchanged_under_a_watch(tmp_path: Path) -> None:
    old, new = Authority.new(tmp_path, "old"), Authority.new(tmp_path, "new")

    def state(authorities: bytes, pair: tuple[bytes, bytes]) -> dict[str, bytes]:
        return {"ca": authorities, "key": pair[0], "crt": pair[1]}

    before, after = old.issue(HOST), new.issue(HOST)
    both = old.certificate + new.certificate
    mounted = Mounted(tmp_path / "tls", **state(old.certificate, before))
    files = {"tls_certificate": mounted["crt"], "tls_key": mounted["key"], "neighbour_ca": mounted["ca"]}
    (tmp_path / "token").write_text("secret")
    about = settings(tmp_path, token_file=tmp_path / "token", **files)
    going_on: asyncio.Queue[str] = asyncio.Queue()

    async def watch(_text: str) -> AsyncIterator[str]:
        while True:
            yield await going_on.get()

    async with served(about, EchoServicer(watch=watch)) as address, neighbour(address, about) as other:
        watching = method(other, "Watch")(StringValue(value="x"))
        for authorities, pair in ((both, before), (both, after), (new.certificate, after)):
            mounted.exchange(**state(authorities, pair))
            await look_at_all()
            assert await ask(other) == "heard x"
            async with neighbour(address, about) as newcomer:
                assert await ask(newcomer) == "heard x"
            going_on.put_nowait("still here")
            assert (await watching.read()).value == "still here"
        async with channel(address, token="secret", root_certs=lambda: old.certificate) as distrustful:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(distrustful, "Open")(StringValue(value="x"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        watching.cancel()


async def test_two_servers_of_a_process_share_a_certificate_and_its_exchange(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path, "authority")
    before, after = authority.issue(HOST), authority.issue(HOST, "DNS:after")
    mounted = Mounted(tmp_path / "tls", key=before[0], crt=before[1])
    about = settings(tmp_path, token=SecretStr("secret"), tls_certificate=mounted["crt"], tls_key=mounted["key"])
    options = options_from(about)
    hosts = [ServiceHost(options, authenticator=OwnerToken(owner_tokens(about))) for _ in range(2)]
    ports = []
    for host in hosts:
        host.add(register, EchoServicer(), SERVICE)
        ports.append(await host.start())
    try:
        for pair in (before, after):
            mounted.exchange(key=pair[0], crt=pair[1])
            await look_at_all()
            for port in ports:
                shown = await asyncio.to_thread(ssl.get_server_certificate, ("localhost", port))
                assert shown.strip() == pair[1].decode().strip()
    finally:
        for host in hosts:
            await host.stop()


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "gone"])
async def test_what_cannot_be_used_is_refused_and_what_was_there_holds(tmp_path: Path, broken: str) -> None:
    authority = Authority.new(tmp_path, "authority")
    pair, another = authority.issue(HOST), authority.issue(HOST)
    content = {
        "key of another": {"key": another[0], "crt": pair[1], "ca": authority.certificate},
        "no certificate": {"key": pair[0], "crt": b"none", "ca": b"none"},
        "gone": {},
    }[broken]
    mounted = Mounted(tmp_path / "tls", key=pair[0], crt=pair[1], ca=authority.certificate)
    files = {"tls_certificate": mounted["crt"], "tls_key": mounted["key"], "neighbour_ca": mounted["ca"]}
    (tmp_path / "token").write_text("secret")
    about = settings(tmp_path, token_file=tmp_path / "token", **files)
    async with served(about) as address:
        refused = counted("certificate", "refused")
        mounted.exchange(**content)
        await look_at_all()
        await look_at_all()
        assert counted("certificate", "refused") == refused + 1, "told once, however often it is looked at"
        async with channel(address, token="secret", root_certs=lambda: authority.certificate) as client:
            assert await ask(client) == "heard x"


async def test_files_that_are_being_exchanged_are_taken_together(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for file in (first, second):
        file.write_bytes(b"1")
    reading = 0

    class Overtaken(Rotating[tuple[bytes, bytes]]):
        def _see(self) -> list[bytes]:
            nonlocal reading
            reading += 1
            early = first.read_bytes()
            if reading == 1:
                for file in (first, second):
                    file.write_bytes(b"2")
            return [early, second.read_bytes()]

    files = Overtaken("pair", lambda one, two: (one, two), first, second)
    files.look()
    assert files() == (b"1", b"1")
    files.look()
    assert files() == (b"2", b"2")


def test_who_follows_a_file_is_told_of_each_change_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"old")
    files = Rotating("token", lines, path)
    first, changed = files.follow()
    _, also = files.follow()
    assert (first, changed(), changed()) == (("old",), None, None)
    path.write_bytes(b"new")
    files.look()
    assert [changed(), changed(), also(), also()] == [("new",), None, ("new",), None]


async def test_trouble_with_one_file_keeps_no_other_from_being_looked_at(tmp_path: Path) -> None:
    def unexpected(_content: bytes) -> str:
        if _content != b"good":
            raise RuntimeError("nobody expects this")
        return "good"

    names = [tmp_path / name for name in ("before", "bad", "after")]
    for path in names:
        path.write_bytes(b"good")
    reads: list[Callable[[bytes], Any]] = [lines, unexpected, lines]
    files = [rotating(path.name, read, path) for path, read in zip(names, reads, strict=True)]
    for path in names:
        path.write_bytes(b"other")
    await look_at_all()
    assert [one() for one in files] == [("other",), "good", ("other",)]


def test_a_file_that_holds_nothing_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ValueError, match="the file is empty"):
        owner_tokens(settings(tmp_path, token_file=tmp_path / "token"))


@pytest.mark.real_server("minio")
def test_what_bundles_say_of_authorities_beside_them_is_passed_over(tmp_path: Path) -> None:
    authority = Authority.new(tmp_path, "authority").certificate
    bundle = "# Főtanúsítvány\n".encode() + authority
    assert authorities(bundle) == bundle
    for nothing in (b"", b"none", "é".encode(), authority[:-20]):
        with pytest.raises(ValueError, match="no certificate"):
            authorities(nothing)


def test_a_file_that_could_not_be_read_for_once_is_read_at_the_next_look(tmp_path: Path) -> None:
    trouble = [OSError("for once")]

    def read(content: bytes) -> bytes:
        if content == b"new" and trouble:
            raise trouble.pop()
        return content

    (tmp_path / "file").write_bytes(b"old")
    followed = Rotating("test", read, tmp_path / "file")
    (tmp_path / "file").write_bytes(b"new")
    with pytest.raises(OSError, match="for once"):
        followed.look()
    followed.look()
    assert followed() == b"new"


async def test_keys_of_the_object_store_are_exchanged(minio: MinioServer, bucket: str, tmp_path: Path) -> None:
    admin = MinioAdmin(
        endpoint=minio.endpoint, credentials=StaticProvider(minio.access_key, minio.secret_key), secure=False
    )
    mounted = Mounted(tmp_path / "keys", access=minio.access_key.encode(), secret=minio.secret_key.encode())
    endpoint = f"http://{minio.endpoint}"
    store = S3ObjectStore(
        S3StoreSettings(
            endpoint=endpoint,
            public_endpoint=endpoint,
            bucket=bucket,
            access_key_file=mounted["access"],
            secret_key_file=mounted["secret"],
        )
    )
    await store.put("key", b"content")
    await asyncio.to_thread(admin.user_add, bucket, "another-secret")
    await asyncio.to_thread(admin.attach_policy, ["readwrite"], bucket)
    mounted.exchange(access=bucket.encode(), secret=b"another-secret")
    await look_at_all()
    assert await store.get("key") == b"content"
    await asyncio.to_thread(admin.user_remove, bucket)
    with pytest.raises(Internal):
        await store.get("key")
    mounted.exchange(access=minio.access_key.encode(), secret=minio.secret_key.encode())
    await look_at_all()
    assert await store.get("key") == b"content"
