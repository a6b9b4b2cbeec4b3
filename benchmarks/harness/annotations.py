"""Projects whose images are rows only: for what is asked of the annotation service's database alone."""

import hashlib

from bloomery_annotation.app import SCHEMA
from bloomery_annotation.model import AssetDraft, Blob
from bloomery_annotation.store import assets, projects
from bloomery_kit.database import Database
from bloomery_kit.times import utc_now

_BATCH = 2000


async def add_images(database_url: str, project_id: str, count: int) -> None:
    """Have the service's own store write down images that lie nowhere; every tenth is for validation."""
    db = Database.connect(database_url, SCHEMA)
    for start in range(0, count, _BATCH):
        drafts = [_image(number) for number in range(start, min(start + _BATCH, count))]
        async with db.write() as tx:
            await assets.ensure(tx, await projects.lock(tx, project_id), drafts, utc_now())
    await db.close()


def _image(number: int) -> tuple[AssetDraft, Blob]:
    digest = f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}"
    blob = Blob(digest, 100_000, "image/jpeg", 640, 480)
    return AssetDraft(digest, f"folder/{number:07}.jpg", "train" if number % 10 else "val"), blob
