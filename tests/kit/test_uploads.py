import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from bloomery_kit import uploads
from bloomery_kit.errors import FailedPrecondition, Unavailable
from bloomery_kit.objects import ObjectStore, S3ObjectStore
from bloomery_kit.uploads import Expected, Part, keep_checked, sign_upload

BYTES = b"what was announced"
WANTED = Expected(f"sha256:{hashlib.sha256(BYTES).hexdigest()}", len(BYTES))
STAGING, KEY = "project/staging/blob", f"project/{WANTED.digest[7:]}"


async def keys(store: ObjectStore) -> set[str]:
    return {blob.key async for blob in store.list("project/")}


async def test_what_was_announced_is_kept(store: ObjectStore) -> None:
    await store.put(STAGING, BYTES)
    await keep_checked(store, STAGING, KEY, WANTED)
    assert await store.get(KEY) == BYTES
    assert await keys(store) == {KEY}


@pytest.mark.parametrize("arrived", [b"what was announceD", BYTES + b"!", b""])
async def test_other_bytes_are_dropped(store: ObjectStore, arrived: bytes) -> None:
    await store.put(STAGING, arrived)
    with pytest.raises(FailedPrecondition) as caught:
        await keep_checked(store, STAGING, KEY, WANTED)
    assert caught.value.reason == "BLOB_DIFFERS"
    assert await keys(store) == set()


async def test_nothing_that_was_uploaded_is_said(store: ObjectStore) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await keep_checked(store, STAGING, KEY, WANTED)
    assert caught.value.reason == "BLOB_MISSING"


class Overwriting:
    """A store whose staging key is written again by whoever holds the URL, right after the bytes were looked at."""

    def __init__(self, store: ObjectStore, other: bytes) -> None:
        self._store, self._other = store, other

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def digest(self, key: str) -> tuple[str, int]:
        found = await self._store.digest(key)
        await self._store.put(STAGING, self._other)
        return found


async def test_bytes_that_come_after_the_look_are_not_kept(store: ObjectStore) -> None:
    await store.put(STAGING, BYTES)
    await keep_checked(Overwriting(store, b"x" * len(BYTES)), STAGING, KEY, WANTED)  # type: ignore[arg-type]
    assert await store.get(KEY) == BYTES


async def test_a_size_that_is_wrong_is_refused_before_a_byte_is_read(store: ObjectStore) -> None:
    class Unread(Overwriting):
        async def digest(self, key: str) -> tuple[str, int]:
            raise AssertionError("was read")

    await store.put(STAGING, BYTES * 1000)
    with pytest.raises(FailedPrecondition):
        await keep_checked(Unread(store, b""), STAGING, KEY, WANTED)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Large:
    """A file of three parts, and where it is to be kept."""

    content: bytes
    wanted: Expected
    key: str


@pytest.fixture
def large(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Large:
    # S3 joins no smaller ones.
    step = 5 << 20 if isinstance(store, S3ObjectStore) else 1000
    monkeypatch.setattr(uploads, "PARTED_BYTES", step)
    monkeypatch.setattr(uploads, "_PART_BYTES", step)
    content = random.Random(1).randbytes(2 * step + 100)
    digest = hashlib.sha256(content).hexdigest()
    return Large(content, Expected(f"sha256:{digest}", len(content)), f"project/{digest}")


async def signed(store: ObjectStore, size: int, *, in_parts: bool = True) -> uploads.Upload:
    return await sign_upload(store, STAGING, size, expires=timedelta(minutes=1), in_parts=in_parts)


def key_of(part: Part) -> str:
    """Where the signed request puts it."""
    return "project/" + part.put.url.partition("/project/")[2].partition("?")[0]


async def bring(store: ObjectStore, content: bytes, *parts: Part) -> None:
    for part in parts:
        await store.put(key_of(part), content[part.offset : part.offset + part.size])


async def brought(store: ObjectStore, large: Large) -> Sequence[Part]:
    """All parts are there."""
    parts = (await signed(store, len(large.content))).parts
    await bring(store, large.content, *parts)
    return parts


async def keep(store: object, large: Large) -> None:
    await keep_checked(store, STAGING, large.key, large.wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(16 << 20) + 1, 100 << 20, (512 << 20) + 1, (5 << 30) - 1])
async def test_the_parts_of_a_large_file_are_few_and_lie_side_by_side(store: ObjectStore, size: int) -> None:
    parts = (await signed(store, size)).parts
    assert 3 <= len(parts) <= 64
    assert [part.offset for part in parts] == [
        sum(part.size for part in parts[:number]) for number in range(len(parts))
    ]
    assert sum(part.size for part in parts) == size
    assert min(part.size for part in parts[:-1]) >= 5 << 20
    assert len({key_of(part) for part in parts}) == len(parts)


@pytest.mark.parametrize(("size", "in_parts"), [(16 << 20, True), ((16 << 20) + 1, False)])
async def test_small_files_and_clients_that_know_no_parts_get_one_request(
    store: ObjectStore, size: int, in_parts: bool
) -> None:
    upload = await signed(store, size, in_parts=in_parts)
    assert upload.put is not None
    assert not upload.parts


async def test_only_parts_that_are_not_there_whole_are_asked_for(store: ObjectStore, large: Large) -> None:
    size = len(large.content)
    first, second, third = (await signed(store, size)).parts
    await bring(store, large.content, first, third)
    await store.put(key_of(second), large.content[second.offset : second.offset + second.size - 1])
    assert [part.offset for part in (await signed(store, size)).parts] == [second.offset]
    assert len((await signed(store, size + 1)).parts) == 2, "the last part of a file of another size is another one"
    await bring(store, large.content, second)
    nothing = await signed(store, size)
    assert (nothing.put, list(nothing.parts)) == (None, [])


async def test_parts_are_joined_once_all_are_there(store: ObjectStore, large: Large) -> None:
    first, second, third = (await signed(store, len(large.content))).parts
    await bring(store, large.content, third, first)
    with pytest.raises(FailedPrecondition) as caught:
        await keep(store, large)
    assert caught.value.reason == "BLOB_MISSING"
    assert await keys(store) == {key_of(first), key_of(third)}
    await bring(store, large.content, second, third)
    await keep(store, large)
    assert await store.get(large.key) == large.content
    assert await keys(store) == {large.key}


async def test_parts_with_other_bytes_are_all_dropped(store: ObjectStore, large: Large) -> None:
    parts = await brought(store, large)
    await bring(store, large.content[::-1], parts[1])
    with pytest.raises(FailedPrecondition) as caught:
        await keep(store, large)
    assert caught.value.reason == "BLOB_DIFFERS"
    assert await keys(store) == set()


async def test_parts_that_come_again_after_the_look_are_not_kept(store: ObjectStore, large: Large) -> None:
    parts = await brought(store, large)

    class Late(Overwriting):
        async def digest(self, key: str) -> tuple[str, int]:
            found = await self._store.digest(key)
            await bring(self._store, large.content[::-1], *parts)
            return found

    await keep(Late(store, b""), large)
    assert await store.get(large.key) == large.content


async def test_what_comes_whole_while_others_bring_parts_is_kept(store: ObjectStore, large: Large) -> None:
    await bring(store, large.content, (await signed(store, len(large.content))).parts[0])
    await store.put(STAGING, large.content)
    await keep(store, large)
    assert await store.get(large.key) == large.content


async def test_of_many_who_keep_one_upload_at_once_some_do_and_none_wrongly(store: ObjectStore, large: Large) -> None:
    await brought(store, large)
    done = await asyncio.gather(*(keep(store, large) for _ in range(4)), return_exceptions=True)
    assert None in done
    assert {one.reason for one in done if isinstance(one, FailedPrecondition)} <= {"BLOB_MISSING"}
    assert [one for one in done if not isinstance(one, FailedPrecondition | None)] == []
    assert await store.get(large.key) == large.content


class CrashError(Exception):
    """The process dies here."""


class Crashing:
    """A store, one of whose calls does not come back."""

    def __init__(self, store: ObjectStore, method: str, *, after: bool) -> None:
        self._store, self._method, self._after = store, method, after

    def __getattr__(self, name: str) -> object:
        real: Callable[..., Any] = getattr(self._store, name)
        return self._dying(real) if name == self._method else real

    def _dying(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any) -> None:
            if self._after:
                await real(*args)
            raise CrashError

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["stat", "join", "digest", "move", "delete"])
async def test_a_crash_while_parts_are_kept_is_mended_by_repeating(
    store: ObjectStore, large: Large, method: str, after: bool
) -> None:
    await brought(store, large)
    with pytest.raises(CrashError):
        await keep(Crashing(store, method, after=after), large)
    missing = (await signed(store, len(large.content))).parts
    assert not missing or await store.get(large.key) == large.content
    await bring(store, large.content, *missing)
    await keep(store, large)
    assert await store.get(large.key) == large.content


class Faulty:
    """A store, one of whose calls fails a few times."""

    def __init__(self, store: ObjectStore, method: str, times: int) -> None:
        self._store, self._method, self._times = store, method, times

    def __getattr__(self, name: str) -> object:
        real: Callable[..., Any] = getattr(self._store, name)
        if name != self._method or not self._times:
            return real
        self._times -= 1

        async def call(*args: Any) -> None:
            raise Unavailable("OBJECT_STORE_UNAVAILABLE", "away")

        return call


@pytest.mark.parametrize("method", ["digest", "move"])
async def test_a_store_that_is_away_for_a_moment_leaves_no_copies(
    store: ObjectStore, large: Large, method: str
) -> None:
    parts = await brought(store, large)
    faulty = Faulty(store, method, 2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await keep(faulty, large)
        assert await keys(store) == {key_of(part) for part in parts}
    await keep(faulty, large)
    assert await keys(store) == {large.key}


async def test_what_came_whole_leaves_no_copy_either(store: ObjectStore) -> None:
    await store.put(STAGING, BYTES)
    with pytest.raises(Unavailable):
        await keep_checked(Faulty(store, "digest", 1), STAGING, KEY, WANTED)  # type: ignore[arg-type]
    assert await keys(store) == set()


async def test_copies_that_a_crash_left_go_with_the_parts(store: ObjectStore, large: Large) -> None:
    await brought(store, large)
    with pytest.raises(CrashError):
        await keep(Crashing(Faulty(store, "delete", 1), "digest", after=False), large)  # type: ignore[arg-type]
    assert len(await keys(store)) == 4
    await keep(store, large)
    assert await keys(store) == {large.key}


async def test_who_no_longer_waits_for_parts_to_be_joined_leaves_no_copy(store: ObjectStore, large: Large) -> None:
    """The thread that writes goes on though nobody waits for it any more."""
    parts = await brought(store, large)
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Overwriting):
        async def join(self, sources: Sequence[str], target: str) -> None:
            async def work() -> None:
                begun.set()
                await go_on.wait()
                await self._store.join(sources, target)

            await asyncio.shield(asyncio.create_task(work()))

    keeping = asyncio.create_task(keep(Slow(store, b""), large))
    await begun.wait()
    keeping.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await asyncio.sleep(0.2)
    assert await keys(store) == {key_of(part) for part in parts}


async def test_room_is_what_is_to_come_and_the_parts_once_more(store: ObjectStore, large: Large) -> None:
    size = len(large.content)
    assert (await signed(store, size, in_parts=False)).room == size
    nothing = await signed(store, size)
    assert nothing.room == 2 * size
    await bring(store, large.content, nothing.parts[0])
    assert (await signed(store, size)).room == 2 * size - nothing.parts[0].size
    await bring(store, large.content, *nothing.parts[1:])
    assert (await signed(store, size)).room == size
