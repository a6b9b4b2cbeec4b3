import hashlib

import pytest

from bloomery_kit.errors import FailedPrecondition
from bloomery_kit.objects import ObjectStore
from bloomery_kit.uploads import Expected, keep_checked

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
