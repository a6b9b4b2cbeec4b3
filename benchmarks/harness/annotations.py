"""Projects whose images are rows only: for what is asked of the annotation service's database alone."""

import hashlib
from collections.abc import Iterator, Sequence

from bloomery_annotation import shapes
from bloomery_annotation.app import SCHEMA
from bloomery_annotation.model import Asset, AssetDraft, Blob, Provenance, Source
from bloomery_annotation.names import MAIN_SET
from bloomery_annotation.saving import KeepEdits, SetDraft
from bloomery_annotation.store import assets, projects, revisions
from bloomery_kit.database import Database
from bloomery_kit.times import utc_now
from bloomery_vision.geometry import Box, Shape

_BATCH = 2000
_BOXES = 4
_RARER = (230, 253)
"""From these bytes on a box has the second label, and the third."""


async def add_images(database_url: str, project_id: str, count: int, *, labels: Sequence[str] = ()) -> None:
    """Have the service's own store write down images that lie nowhere; every tenth is for validation.

    Where ids of labels are given, three at most, each image has one to four boxes; the first label is by far the most
    frequent.
    """
    db = Database.connect(database_url, SCHEMA)
    for start in range(0, count, _BATCH):
        drafts = [_image(number) for number in range(start, min(start + _BATCH, count))]
        async with db.write() as tx:
            project = await projects.lock(tx, project_id)
            made, _ = await assets.ensure(tx, project, drafts, utc_now())
            if labels:
                await revisions.save(tx, project, [_annotated(asset, labels) for asset in made.values()], utc_now())
    await db.close()


def _image(number: int) -> tuple[AssetDraft, Blob]:
    digest = f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"
    blob = Blob(digest, 100_000, "image/jpeg", 640, 480)
    return AssetDraft(digest, f"folder/{number:07}.jpg", "train" if number % 10 else "val"), blob


def _annotated(asset: Asset, labels: Sequence[str]) -> SetDraft:
    drawn = bytes.fromhex(asset.digest.removeprefix("sha256:"))
    packed = shapes.pack_values(list(_boxes(drawn, labels)), str)
    return SetDraft(asset, MAIN_SET, packed, Provenance(Source.IMPORT, "benchmark"), "benchmark", KeepEdits())


def _boxes(drawn: bytes, labels: Sequence[str]) -> Iterator[Shape]:
    count, *drawn_left = drawn
    for _ in range(1 + count % _BOXES):
        left, top, rank, *drawn_left = drawn_left
        label = labels[sum(rank >= limit for limit in _RARER[: len(labels) - 1])]
        yield Shape(Box(2 * left, top, 40, 40), label)
