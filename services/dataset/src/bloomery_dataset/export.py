"""Label files of a version in other tools' formats, as a zip."""

import asyncio
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from bloomery_dataset.metrics import EXPORTS
from bloomery_dataset.model import Blob, ExportFormat, Task, Version
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.store import versions
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition, NotFound
from bloomery_kit.objects import ObjectStore
from bloomery_vision.formats import FORMATS, ExportChunk, ExportRow, Format, YoloTask
from bloomery_vision.manifest import ManifestRow, read_shard

# The oldest time that a zip can hold: equal content makes equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o644 << 16
_CHUNK = 1 << 20


class Exporter:
    """Makes each archive once and keeps it. `folder` takes what is written on the way."""

    def __init__(self, db: Database, cache: ShardCache, objects: ObjectStore, *, folder: Path) -> None:
        self._db = db
        self._cache = cache
        self._objects = objects
        self._folder = folder
        self._running: dict[tuple[str, ExportFormat], asyncio.Task[Blob]] = {}

    async def archive(self, version: Version, export_format: ExportFormat) -> Blob:
        """The zip of a READY version. Raises FailedPrecondition where the format cannot hold its labels, NotFound."""
        async with self._db.read() as tx:
            made = await versions.export(tx, version.uid, export_format)
        return made or await self._make_once(version, export_format)

    async def close(self) -> None:
        """Give up what is being made."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _make_once(self, version: Version, export_format: ExportFormat) -> Blob:
        key = (version.uid, export_format)
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._make(version, export_format))
            self._running[key].add_done_callback(lambda _: self._running.pop(key))
        # A client that gives up does not stop the work: it will ask again.
        return await asyncio.shield(self._running[key])

    async def _make(self, version: Version, export_format: ExportFormat) -> Blob:
        if version.spec.task is Task.CLASSIFY:
            raise FailedPrecondition(
                "NO_LABEL_FILES",
                "a classification set has no label files: its folders are the classes; download its images instead",
            )
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
            index, shards = await self._cache.checkout(version, Path(folder))
            rows = (_export_row(row) for shard in shards for row in read_shard(shard, index.classes))
            archive = Path(folder) / "archive.zip"
            await asyncio.to_thread(_write, archive, rows, version, export_format)
            digest = await asyncio.to_thread(_digest, archive)
            stored = await self._objects.put(f"{version.prefix}/exports/{digest}.zip", archive)
        blob = Blob(f"sha256:{digest}", stored.size, stored.key)
        async with self._db.write() as tx:
            if kept := await versions.is_there(tx, version):
                await versions.add_export(tx, version.uid, export_format, blob)
            else:
                await versions.leave_cleanup(tx, version)
        if not kept:
            raise NotFound("dataset version", version.name, "it was deleted while it was exported")
        EXPORTS.labels(export_format).inc()
        return blob


def _export_row(row: ManifestRow) -> ExportRow:
    return ExportRow(row.file_name, row.width, row.height, row.split, row.shapes)


def _write(archive: Path, rows: Iterable[ExportRow], version: Version, export_format: ExportFormat) -> None:
    assert version.product is not None
    classes = version.product.classes
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        write = FORMATS[Format(export_format)].write
        assert write is not None
        chunks = write(rows, classes, YoloTask(version.spec.task))
        if export_format is ExportFormat.YOLO:
            for chunk in chunks:
                file.writestr(_entry(chunk.path), chunk.data)
        else:
            _write_mixed(file, chunks)


def _write_mixed(file: zipfile.ZipFile, chunks: Iterable[ExportChunk]) -> None:
    """Write files whose chunks come in turns, through files of their own."""
    with ExitStack() as stack:
        parts: dict[str, IO[bytes]] = {}
        for chunk in chunks:
            if chunk.path not in parts:
                parts[chunk.path] = stack.enter_context(tempfile.TemporaryFile(dir=Path(str(file.filename)).parent))
            parts[chunk.path].write(chunk.data)
        for path, part in parts.items():
            part.seek(0)
            with file.open(_entry(path), "w", force_zip64=True) as entry:
                shutil.copyfileobj(part, entry, _CHUNK)


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _PLAIN_FILE
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
