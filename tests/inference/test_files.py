"""Files of models on the local disk: fetched once, whole, bounded, never taken from under whoever reads them."""

import asyncio
import contextlib
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from google.rpc import code_pb2

from bloomery_inference.files import ModelCache
from bloomery_inference.model import Artifact, Variant, VariantResult, VariantState
from bloomery_kit.errors import BloomeryError, Internal, to_status
from bloomery_kit.objects import FolderObjectStore

SIZE = 100
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjectStore:
    return FolderObjectStore(tmp_path / "blobs", base_url="http://127.0.0.1:1", signing_key=b"k" * 32)


@pytest.fixture
async def variant(objects: FolderObjectStore) -> Variant:
    """A variant of one file of `SIZE` bytes."""
    content = bytes(SIZE)
    await objects.put("p/model", content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    artifact = Artifact("variant/1/model.onnx", digest, SIZE, "", "p/model", "1/model.onnx")
    names = ("a", "v", "p", "m")
    state = VariantState.READY
    result = VariantResult((artifact,))
    return Variant(*names, 1, "onnx-fp32", "onnx", "fp32", state, "", "", result, NOW, NOW)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


async def read(cache: ModelCache, variant: Variant) -> bytes:
    async with cache.of(variant).directory() as folder:
        return (folder / "1" / "model.onnx").read_bytes()


def kept(root: Path) -> set[str]:
    return {folder.name for folder in root.iterdir()}


async def test_the_least_recently_used_files_leave_the_disk_first(
    objects: FolderObjectStore, root: Path, variant: Variant
) -> None:
    cache = ModelCache(objects, root, limit=2 * SIZE + 50)
    for uid in ("a", "b", "a", "c"):
        assert len(await read(cache, replace(variant, uid=uid))) == SIZE
        await asyncio.sleep(0.01)
    assert kept(root) == {"a", "c"}


async def test_files_stay_while_they_are_read_however_full_the_disk_is(
    objects: FolderObjectStore, root: Path, variant: Variant
) -> None:
    cache = ModelCache(objects, root, limit=0)

    async def often(uid: str) -> None:
        for _ in range(20):
            async with cache.of(replace(variant, uid=uid)).directory() as folder:
                await asyncio.sleep(0)
                assert len((folder / "1" / "model.onnx").read_bytes()) == SIZE

    await asyncio.gather(*(often(uid) for uid in ("a", "b", "c", "a")))
    assert len(kept(root)) <= 3


async def test_files_that_a_runtime_refused_are_fetched_anew(
    objects: FolderObjectStore, root: Path, variant: Variant
) -> None:
    cache = ModelCache(objects, root, limit=SIZE)
    await read(cache, variant)
    (root / "a" / "1" / "model.onnx").write_bytes(b"damaged")
    await cache.forget(variant)
    assert await read(cache, variant) == bytes(SIZE)


async def test_what_a_process_that_was_killed_had_half_fetched_is_swept(
    objects: FolderObjectStore, root: Path, variant: Variant
) -> None:
    for name, age in ((".a.dead", 2 * 86400), (".b.arriving", 0)):
        (root / name).mkdir()
        os.utime(root / name, ns=(0, (root / name).stat().st_mtime_ns - age * 10**9))
    await read(ModelCache(objects, root, limit=SIZE), variant)
    assert kept(root) == {"a", ".b.arriving"}


async def test_files_of_another_digest_are_not_served_and_leave_nothing(
    objects: FolderObjectStore, root: Path, variant: Variant
) -> None:
    cache = ModelCache(objects, root, limit=SIZE)
    await objects.put("p/model", b"another model")
    with pytest.raises(Internal, match="p/model has the digest sha256:"):
        await read(cache, variant)
    assert kept(root) == set()
    await objects.put("p/model", bytes(SIZE))
    assert await read(cache, variant) == bytes(SIZE)


async def test_files_that_are_away_while_they_are_fetched_are_fetched_later(
    objects: FolderObjectStore, root: Path, variant: Variant, tmp_path: Path
) -> None:
    cache = ModelCache(objects, root, limit=SIZE)
    (tmp_path / "blobs").rename(tmp_path / "away")
    with pytest.raises(BloomeryError):
        await read(cache, variant)
    assert kept(root) == set()
    (tmp_path / "away").rename(tmp_path / "blobs")
    assert await read(cache, variant) == bytes(SIZE)


async def test_a_disk_that_fills_up_while_files_are_fetched_is_told_and_keeps_nothing_half(
    objects: FolderObjectStore, small_disk: Path, variant: Variant
) -> None:
    content = os.urandom(1 << 20)
    await objects.put("p/model", content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    large = replace(variant, result=VariantResult((replace(variant.result.artifacts[0], digest=digest),)))
    root = small_disk / "cache"
    root.mkdir()
    cache, filler = ModelCache(objects, root, limit=2 << 20), small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(bytes(1 << 16)):
            pass
    with pytest.raises((BloomeryError, OSError)) as full:
        await read(cache, large)
    assert to_status(full.value).code == code_pb2.RESOURCE_EXHAUSTED
    assert kept(root) == set()
    filler.unlink()
    assert await read(cache, large) == content
