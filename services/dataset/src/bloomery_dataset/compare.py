"""In what two versions differ."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from bloomery_dataset.model import Version
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.splits import PARTS
from bloomery_vision.manifest import ManifestRow, ShardReader
from bloomery_vision.manifest_hash import shapes_hash


@dataclass(frozen=True)
class Comparison:
    """How many images one version has more, less or otherwise than another one, and which classes."""

    images: int
    other_images: int
    added: int
    removed: int
    moved: int
    relabelled: int
    added_classes: tuple[str, ...]
    removed_classes: tuple[str, ...]


async def compare(cache: ShardCache, version: Version, other: Version) -> Comparison:
    """What `other` has that `version` has not, and the other way round.

    Images are known by their digests, crops by what was cut out of which image: the bytes of several may be equal.
    """
    old, new = (await cache.index(version)).classes, (await cache.index(other)).classes
    before, after = await _images(cache, version), await _images(cache, other)
    return await asyncio.to_thread(_comparison, before, after, old, new)


def _comparison(
    before: Mapping[bytes, bytes], after: Mapping[bytes, bytes], old: tuple[str, ...], new: tuple[str, ...]
) -> Comparison:
    both = before.keys() & after.keys()
    return Comparison(
        images=len(before),
        other_images=len(after),
        added=len(after) - len(both),
        removed=len(before) - len(both),
        moved=sum(before[digest][:1] != after[digest][:1] for digest in both),
        relabelled=sum(before[digest][1:] != after[digest][1:] for digest in both),
        added_classes=tuple(name for name in new if name not in old),
        removed_classes=tuple(name for name in old if name not in new),
    )


async def _images(cache: ShardCache, version: Version) -> dict[bytes, bytes]:
    """For each image, by its key, a byte for its split and the hash of its shapes: there may be millions."""
    index = await cache.index(version)
    found: dict[bytes, bytes] = {}
    again: Counter[bytes] = Counter()
    for shard in index.shards:
        await asyncio.to_thread(_add, await cache.open(shard, index.classes), found, again)
    return found


def _add(reader: ShardReader, found: dict[bytes, bytes], again: Counter[bytes]) -> None:
    """Adds the images of a shard; `again` counts those whose key was taken, and are known by their number too."""
    with reader:
        for _, row in reader.rows():
            key = _key(row)
            if key in found:
                again[key] += 1
                key += again[key].to_bytes(8, "big")
            found[key] = bytes([PARTS.index(row.split)]) + shapes_hash(row)


def _key(row: ManifestRow) -> bytes:
    """Of crops without the label, so that another one is seen as such."""
    if row.crop is None:
        return bytes.fromhex(row.digest.removeprefix("sha256:"))
    where = [row.crop.source_digest, *(astuple(box) for box in (row.crop.region, row.crop.box))]
    return hashlib.sha256(json.dumps(where).encode()).digest()
