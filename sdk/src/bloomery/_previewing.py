"""Images of a dataset version as an augmentation policy changes them."""

import asyncio
import tempfile
from contextlib import aclosing
from pathlib import Path

from bloomery._session import Session
from bloomery.augmentation import Sheet, parse, pipeline, sheet
from bloomery.dataset.v1 import DatasetItem, ListDatasetItemsRequest


async def previewed(
    session: Session, version: str, policy: str | Path, split: str, images: int, variants: int, seed: int
) -> list[Sheet]:
    """See `DatasetVersion.preview_augmentation`."""
    change = await asyncio.to_thread(lambda: pipeline(parse(policy)))
    request = ListDatasetItemsRequest(
        parent=version, page_size=images, filter=f"split:{split}", sign_downloads=True, inline_contents=True
    )
    made: list[Sheet] = []
    # A page ends early where its contents are large.
    async with aclosing(session.pages(session.datasets.ListDatasetItems, request)) as pages:
        async for page in pages:
            for item in page.items:
                content = await _content(session, item)
                picture = await asyncio.to_thread(sheet, content, item.shapes, change, variants, seed)
                made.append(Sheet(item.asset, item.file_name, picture))
            request.page_size = images - len(made)
            if request.page_size <= 0:
                break
    return made


async def _content(session: Session, item: DatasetItem) -> bytes:
    if content := item.content:
        return content
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "image"
        await session.transfer.get(item.download, target, item.digest)
        return await asyncio.to_thread(target.read_bytes)
