"""What both object stores promise."""

import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bloomery_kit.errors import NotFound, Unavailable
from bloomery_kit.objects import Content, Data, FolderObjectStore, ObjectStore, _folder, check_key

BIG = bytes(range(256)) * 12_000
KEY = "0f3a/sha256:abc"


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted([stat.key async for stat in store.list(prefix)])


async def read(store: ObjectStore, **section: int) -> bytes:
    return b"".join([chunk async for chunk in store.open(KEY, **section)])


@pytest.mark.parametrize("kind", ["bytes", "file", "stream", "empty"])
async def test_what_is_put_is_got(store: ObjectStore, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(BIG)
    sources: dict[str, tuple[Data, bytes]] = {
        "bytes": (BIG, BIG),
        "file": (file, BIG),
        "stream": (chunks(BIG, b"", b"tail"), BIG + b"tail"),
        "empty": (b"", b""),
    }
    data, content = sources[kind]
    stat = await store.put(KEY, data, content_type="image/png")
    assert (stat.key, stat.size) == (KEY, len(content))
    assert await store.get(KEY) == content


@pytest.mark.parametrize("kind", ["bytes", "file", "stream"])
async def test_what_is_put_is_written_though_somebody_removes_it_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FolderObjectStore(tmp_path / "root", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)
    file = tmp_path / "file"
    file.write_bytes(BIG)
    sources: dict[str, Data] = {"bytes": BIG, "file": file, "stream": chunks(BIG)}
    monkeypatch.setattr(_folder, "settle", lambda path: [one.unlink() for one in path.iterdir()])
    assert (await folder.put(KEY, sources[kind])).size == len(BIG)
    assert await folder.stat(KEY) is None


async def test_many_small_blobs_are_put_together(store: ObjectStore) -> None:
    await store.put("a/1", b"old")
    blobs = {f"a/{number}": Content(b"%d" % number, "text/plain") for number in range(150)}
    await store.put_all({**blobs, "b/c/empty": Content(b"")})
    assert len(await keys(store)) == 151
    assert [await store.get(key) for key in ("a/0", "a/1", "a/149", "b/c/empty")] == [b"0", b"1", b"149", b""]
    await store.put_all({})


async def test_many_small_blobs_are_got_together(store: ObjectStore) -> None:
    blobs = {f"a/{number}": b"%d" % number for number in range(50)} | {"b/empty": b""}
    await store.put_all({key: Content(data) for key, data in blobs.items()})
    assert await store.get_all(blobs) == blobs
    assert await store.get_all([]) == {}
    with pytest.raises(NotFound, match="a/none"):
        await store.get_all(["a/1", "a/none", "b/empty"])


async def test_putting_again_replaces(store: ObjectStore) -> None:
    await store.put(KEY, b"old and long")
    await store.put(KEY, b"new")
    assert await store.get(KEY) == b"new"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, BIG),
        ({"offset": 1_500_000}, BIG[1_500_000:]),
        ({"offset": 10, "length": 5}, BIG[10:15]),
        ({"offset": 0, "length": 2_000_000}, BIG[:2_000_000]),
        ({"offset": 3, "length": 0}, b""),
        ({"offset": len(BIG) - 2, "length": 100}, BIG[-2:]),
    ],
)
async def test_a_section_is_read_in_bounded_chunks(
    store: ObjectStore, section: dict[str, int], expected: bytes
) -> None:
    await store.put(KEY, BIG)
    parts = [chunk async for chunk in store.open(KEY, **section)]
    assert b"".join(parts) == expected
    assert all(0 < len(part) <= 1 << 20 for part in parts)


async def test_a_reader_may_stop_early(store: ObjectStore) -> None:
    await store.put(KEY, BIG)
    async for chunk in store.open(KEY):
        assert chunk == BIG[: len(chunk)]
        break
    assert await store.get(KEY) == BIG


async def test_stat_tells_size_and_time_or_nothing(store: ObjectStore) -> None:
    assert await store.stat(KEY) is None
    await store.put(KEY, b"1234")
    stat = await store.stat(KEY)
    assert stat is not None
    assert (stat.key, stat.size) == (KEY, 4)
    assert abs(datetime.now(UTC) - stat.modified) < timedelta(minutes=5)


async def test_a_folder_of_blobs_is_not_a_blob(store: ObjectStore) -> None:
    await store.put(KEY, b"1234")
    assert await store.stat(KEY.split("/", maxsplit=1)[0]) is None


async def test_what_is_missing_is_not_found(store: ObjectStore, tmp_path: Path) -> None:
    for attempt in (
        store.get(KEY),
        read(store),
        store.copy(KEY, "other"),
        store.move(KEY, "other"),
        store.digest(KEY),
        store.download(KEY, tmp_path / "file"),
    ):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert caught.value.name == KEY
    assert await keys(store) == []
    assert not (tmp_path / "file").exists()


async def test_copy_keeps_both_and_move_keeps_one(store: ObjectStore) -> None:
    await store.put("staging/a", b"content")
    await store.copy("staging/a", "final/copied")
    await store.move("staging/a", "final/moved")
    assert await keys(store) == ["final/copied", "final/moved"]
    assert await store.get("final/moved") == await store.get("final/copied") == b"content"


async def test_move_replaces_its_target(store: ObjectStore) -> None:
    await store.put("staging/a", b"new")
    await store.put("final/a", b"old")
    await store.move("staging/a", "final/a")
    assert await store.get("final/a") == b"new"


PART = 5 << 20
"""The least that S3 takes of each part but the last."""


@pytest.mark.parametrize("tail", [b"tail", b""])
async def test_blobs_are_joined_in_their_order(store: ObjectStore, tail: bytes) -> None:
    parts = {"parts/2": b"b" * PART, "parts/1": b"a" * PART, "parts/3": tail}
    for key, content in parts.items():
        await store.put(key, content)
    await store.put("joined", b"old")
    await store.join(list(parts), "joined")
    assert await store.get("joined") == b"".join(parts.values())
    assert await keys(store) == ["joined", *sorted(parts)]
    await store.join(["parts/3"], "joined")
    assert await store.get("joined") == tail


async def test_what_lacks_a_part_is_not_joined(store: ObjectStore) -> None:
    await store.put("parts/1", b"a" * PART)
    with pytest.raises(NotFound):
        await store.join(["parts/1", "parts/2"], "joined")
    assert await keys(store) == ["parts/1"]


async def test_deleting_is_idempotent(store: ObjectStore) -> None:
    await store.put(KEY, b"x")
    await store.delete(KEY)
    await store.delete(KEY)
    assert await store.stat(KEY) is None


async def test_a_prefix_is_text_and_not_a_folder(store: ObjectStore) -> None:
    for key in ("a/1", "a/2", "ab/3", "b/c/4"):
        await store.put(key, b"x")
    assert await keys(store) == ["a/1", "a/2", "ab/3", "b/c/4"]
    assert await keys(store, "a") == ["a/1", "a/2", "ab/3"]
    assert await keys(store, "a/") == ["a/1", "a/2"]
    assert await keys(store, "b/c/") == ["b/c/4"]
    assert await keys(store, "nothing/") == []


async def test_the_digest_is_that_of_the_content(store: ObjectStore) -> None:
    await store.put(KEY, BIG)
    assert await store.digest(KEY) == (f"sha256:{hashlib.sha256(BIG).hexdigest()}", len(BIG))


async def test_a_download_lands_whole_in_a_new_folder(store: ObjectStore, tmp_path: Path) -> None:
    await store.put(KEY, BIG)
    target = tmp_path / "new" / "file"
    await store.download(KEY, target)
    assert target.read_bytes() == BIG
    assert [path.name for path in target.parent.iterdir()] == ["file"]


async def test_a_failing_stream_leaves_the_old_blob(store: ObjectStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError

    await store.put(KEY, b"old")
    with pytest.raises(ConnectionError):
        await store.put(KEY, broken())
    assert await store.get(KEY) == b"old"
    assert await keys(store) == [KEY]


async def test_a_store_that_answers_is_ready(store: ObjectStore) -> None:
    await store.check_ready()


async def test_the_url_of_a_blob_says_its_key_and_no_other_url_has_one(store: ObjectStore) -> None:
    url = ""
    for key in ("a/b", "p=1/c:d._-e"):
        url = await store.sign_get(key, expires=timedelta(seconds=1), filename="x y.png")
        assert store.key_of(url) == store.key_of(url.partition("?")[0]) == key
    for other in ("", "a/b", url.replace("127.0.0.1", "127.0.0.9"), f"x{url}", "http://example.org/blobs/a/b"):
        assert store.key_of(other) is None


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".hidden", "a/.tmp", "a\0b", "a b", "a\\b", "x" * 513]
)
async def test_what_is_no_key_is_refused_everywhere(store: ObjectStore, key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        check_key(key)
    for attempt in (
        store.put(key, b"x"),
        store.get(key),
        store.stat(key),
        store.delete(key),
        store.move("a", key),
        store.join(["a", key], "b"),
        store.join(["a"], key),
        store.sign_get(key, expires=timedelta(seconds=1)),
        store.sign_put(key, size=1, expires=timedelta(seconds=1)),
        store.download(key, tmp_path / "file"),
    ):
        with pytest.raises(ValueError, match="not an object key"):
            await attempt


async def test_names_too_long_for_a_file_are_no_keys(store: ObjectStore) -> None:
    for key in ("a" * 256, f"a/{'b' * 256}/c"):
        with pytest.raises(ValueError, match="not an object key"):
            await store.stat(key)


async def drain(chunks: AsyncIterator[object]) -> None:
    async for _ in chunks:
        pass


LOOP = "loop/x"


@pytest.mark.parametrize(
    "call",
    [
        lambda store, _: store.put(LOOP, b"x"),
        lambda store, _: store.put(LOOP, chunks(b"x")),
        lambda store, here: store.put(LOOP, here / "good"),
        lambda store, _: store.get(LOOP),
        lambda store, _: drain(store.open(LOOP)),
        lambda store, _: store.stat(LOOP),
        lambda store, _: store.copy("good", LOOP),
        lambda store, _: store.copy(LOOP, "new"),
        lambda store, _: store.join(["good", LOOP], "new"),
        lambda store, _: store.move("good", LOOP),
        lambda store, _: store.delete(LOOP),
        lambda store, _: drain(store.list("loop/")),
        lambda store, here: store.download(LOOP, here / "copy"),
        lambda store, _: store.digest(LOOP),
    ],
)
async def test_a_folder_that_cannot_be_read_is_unavailable_and_not_empty(
    tmp_path: Path, call: Callable[[ObjectStore, Path], Awaitable[object]]
) -> None:
    folder = FolderObjectStore(tmp_path, base_url="http://127.0.0.1:1", signing_key=b"k" * 32)
    await folder.put("good", b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Unavailable):
        await call(folder, tmp_path)


async def test_a_store_that_turns_read_only_in_the_middle_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FolderObjectStore(tmp_path, base_url="http://127.0.0.1:1", signing_key=b"k" * 32)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    async def turning() -> AsyncIterator[bytes]:
        yield b"x"
        monkeypatch.setattr(Path, "replace", read_only)
        monkeypatch.setattr(Path, "unlink", read_only)

    with pytest.raises(Unavailable):
        await folder.put("a", turning())


async def test_what_the_disk_refuses_among_many_leaves_the_others_whole_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderObjectStore(tmp_path, base_url="http://127.0.0.1:1", signing_key=b"k" * 16)
    blobs = {f"a/{number}": Content(bytes([number]) * 100) for number in range(30)}
    real, settled = os.fsync, []

    def refusing(descriptor: int) -> None:
        settled.append(descriptor)
        if len(settled) == 7:
            raise OSError(errno.EIO, "the disk does not answer")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refusing)
        with pytest.raises(Unavailable):
            await store.put_all(blobs)
    assert not list((tmp_path / ".tmp").iterdir())
    for found in [found async for found in store.list("a/")]:
        assert await store.get(found.key) == blobs[found.key].data
    await store.put_all(blobs)
    assert [await store.get(key) for key in blobs] == [content.data for content in blobs.values()]


async def test_nobody_else_on_the_machine_may_read_the_files_of_a_folder(tmp_path: Path) -> None:
    store = FolderObjectStore(tmp_path, base_url="http://127.0.0.1:1", signing_key=b"k" * 16)
    (tmp_path / "source").write_bytes(b"c")
    await store.put_all({"a/bundled": Content(b"a"), "b/bundled": Content(b"b")})
    await store.put("a/bytes", b"b")
    await store.put("a/file", tmp_path / "source")
    await store.put("a/stream", chunks(b"d", b"e"))
    await store.copy("a/bytes", "a/copy")
    found = [tmp_path / blob.key async for blob in store.list() if blob.key != "source"]
    assert len(found) == 6
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
