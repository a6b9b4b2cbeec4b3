"""The reader of an import works while a batch is saved, and never further ahead than the next one."""

import asyncio
from typing import Any

import pytest

from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.source import BlobSource
from tests.annotation.folders import counts, voc_folder
from tests.annotation.helpers import Server


async def test_the_next_images_and_no_more_are_read_while_a_batch_is_saved(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "BATCH", 2)
    loop, next_ones_read = asyncio.get_running_loop(), asyncio.Event()
    read, when_saved = set[str](), list[int]()
    image_size, save = BlobSource.image_size, import_run._Run._save

    def look(self: BlobSource, name: str) -> tuple[int, int]:
        read.add(name)
        if len(read) == 4:
            loop.call_soon_threadsafe(next_ones_read.set)
        return image_size(self, name)

    async def late(self: import_run._Run, batch: Any) -> Any:
        async with asyncio.timeout(50):
            await next_ones_read.wait()
        await asyncio.sleep(0.02)
        when_saved.append(len(read))
        return await save(self, batch)

    monkeypatch.setattr(BlobSource, "image_size", look)
    monkeypatch.setattr(import_run._Run, "_save", late)
    done = await server.run_import(await server.project(), voc_folder(6))
    assert when_saved == [4, 6, 6]
    assert counts(done)[0] == 6
