"""The cache of shards, which may always be short of room."""

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from bloomery_dataset.shards import ShardCache
from bloomery_kit.errors import Internal
from bloomery_kit.objects import ObjectStore
from bloomery_vision.geometry import Box, Shape
from bloomery_vision.manifest import ManifestRow, ManifestShard, ShardWriter
from tests.dataset.helpers import store_at

CLASSES = ("RBC",)


def row(number: int) -> ManifestRow:
    return ManifestRow(
        asset=f"projects/cells/assets/a{number}",
        digest=f"sha256:{number:064x}",
        logical_key=f"{number:064x}",
        size_bytes=1,
        media_type="image/jpeg",
        width=640,
        height=480,
        split="train",
        group="",
        file_name=f"{number}.jpg",
        shapes=(Shape(Box(1, 2, 3, 4), "RBC"),),
    )


async def stored(store: ObjectStore, folder: Path, count: int) -> list[ManifestShard]:
    """Shards of one image each."""
    shards = []
    for number in range(count):
        path = folder / f"{number}.parquet"
        writer = ShardWriter(path, CLASSES)
        writer.write(row(number))
        writer.close()
        blob = await store.put(f"shards/{number}", path)
        shards.append(ManifestShard(blob.key, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}", blob.size, 1))
    return shards


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return store_at(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def kept(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def read(cache: ShardCache, shard: ManifestShard) -> list[int]:
    reader = await cache.open(shard, CLASSES)
    # Others make room in the meantime.
    await asyncio.sleep(0)
    with reader:
        return [int(found.digest.removeprefix("sha256:"), 16) for _, found in reader.rows()]


@pytest.mark.parametrize("room", [0, 5, 35])
async def test_many_readers_with_too_little_room_read_all(
    store: ObjectStore, folder: Path, tmp_path: Path, room: int
) -> None:
    shards = await stored(store, tmp_path, 40)
    cache = ShardCache(store, folder, limit=room * shards[0].size_bytes)

    async def reader(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(30):
            number = draw.randrange(len(shards))
            assert await read(cache, shards[number]) == [number]

    await asyncio.gather(*map(reader, range(12)))
    assert len(kept(folder)) <= room + 1


async def test_a_checked_out_version_outlives_the_cache(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    (shard,) = await stored(store, tmp_path, 1)
    cache = ShardCache(store, folder, limit=0)
    reader = await cache.open(shard, CLASSES)
    for file in kept(folder):
        file.unlink()
    with reader:
        assert len(list(reader.rows())) == 1


async def test_a_damaged_shard_is_told_and_not_kept(store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    (shard,) = await stored(store, tmp_path, 1)
    await store.put(shard.logical_key, b"damaged")
    with pytest.raises(Internal) as caught:
        await ShardCache(store, folder, limit=1 << 20).open(shard, CLASSES)
    assert caught.value.reason == "MANIFEST_DAMAGED"
    assert not kept(folder)
