"""Label files of a version in other tools' formats, as a zip."""

import asyncio
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO

from bloomery_dataset.folders import Folders
from bloomery_dataset.metrics import EXPORTS
from bloomery_dataset.model import Blob, Export, ExportFormat, Task, Version
from bloomery_dataset.shards import ShardCache
from bloomery_dataset.store import versions
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition, NotFound
from bloomery_kit.objects import ObjectStore
from bloomery_vision.formats import FORMATS, ExportRow, Format, LabelSpec, YoloTask
from bloomery_vision.formats.export import TABLE, TABLE_HEAD, Notes, table_line, table_row
from bloomery_vision.manifest import ManifestIndex, ManifestRow, read_shard

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
        self._running: dict[tuple[str, ExportFormat], asyncio.Task[Export]] = {}

    async def export(self, version: Version, export_format: ExportFormat) -> Export:
        """The label files of a READY version. Raises FailedPrecondition where it can have none, NotFound."""
        async with self._db.read() as tx:
            made = await versions.export(tx, version.uid, export_format)
        return made or await self._make_once(version, export_format)

    async def close(self) -> None:
        """Give up what is being made."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _make_once(self, version: Version, export_format: ExportFormat) -> Export:
        key = (version.uid, export_format)
        if key not in self._running:
            self._running[key] = asyncio.create_task(self._make(version, export_format))
            self._running[key].add_done_callback(lambda _: self._running.pop(key))
        # A client that gives up does not stop the work: it will ask again.
        return await asyncio.shield(self._running[key])

    async def _make(self, version: Version, export_format: ExportFormat) -> Export:
        _refuse(version, export_format)
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as folder:
            index, shards = await self._cache.checkout(version, Path(folder))
            rows = (row for shard in shards for row in read_shard(shard, index.classes))
            archive = Path(folder) / "archive.zip"
            if export_format is ExportFormat.IMAGEFOLDER:
                losses = await asyncio.to_thread(_write_folders, archive, rows, index)
            else:
                losses = await asyncio.to_thread(_write, archive, map(_export_row, rows), index, export_format)
            digest = await asyncio.to_thread(_digest, archive)
            stored = await self._objects.put(f"{version.prefix}/exports/{digest}.zip", archive)
        made = Export(Blob(f"sha256:{digest}", stored.size, stored.key), losses)
        async with self._db.write() as tx:
            if kept := await versions.is_there(tx, version):
                await versions.add_export(tx, version.uid, export_format, made)
            else:
                await versions.leave_cleanup(tx, version)
        if not kept:
            raise NotFound("dataset version", version.name, "it was deleted while it was exported")
        EXPORTS.labels(export_format).inc()
        return made


def _export_row(row: ManifestRow) -> ExportRow:
    return ExportRow(
        row.file_name,
        row.width,
        row.height,
        row.split,
        row.shapes,
        row.asset,
        row.digest,
        row.original_name,
        row.source_name,
        row.source_id,
    )


def _write(archive: Path, rows: Iterable[ExportRow], index: ManifestIndex, export_format: ExportFormat) -> Notes:
    """Write the label files and the table of images; what the format could not hold."""
    write = FORMATS[Format(export_format)].write
    assert write is not None
    losses = Notes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file, _temporary(archive) as table:
        chunks = write(_tabled(rows, table), _labels(index), YoloTask(index.task), losses)
        for path, parts in groupby(chunks, key=lambda chunk: chunk.path):
            with file.open(_entry(path), "w", force_zip64=True) as entry:
                entry.writelines(part.data for part in parts)
        table.seek(0)
        with file.open(_entry(TABLE), "w", force_zip64=True) as entry:
            shutil.copyfileobj(table, entry, _CHUNK)
    return +losses


def _write_folders(archive: Path, rows: Iterable[ManifestRow], index: ManifestIndex) -> Notes:
    """Write the table of where images belong, and the folders without any; what folders cannot hold."""
    folders, losses = Folders(index.classes), Notes()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open(_entry(TABLE), "w", force_zip64=True) as entry:
            entry.writelines(folders.lines(rows, losses))
        for folder in folders.empty():
            file.writestr(_entry(folder), b"")
    return +losses


def _refuse(version: Version, export_format: ExportFormat) -> None:
    """Raise FailedPrecondition where a version has nothing to say in a format."""
    if (version.spec.task is Task.CLASSIFY) is (export_format is ExportFormat.IMAGEFOLDER):
        return
    if version.spec.task is Task.CLASSIFY:
        problem = "a version of kind classify has no label files; export it as imagefolder"
        raise FailedPrecondition("NO_LABEL_FILES", problem)
    task = version.spec.task
    problem = f"a version of kind {task} has no folders of classes; export it as yolo or coco, or build crops of it"
    raise FailedPrecondition("NO_CLASS_FOLDERS", problem)


def _temporary(archive: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(dir=archive.parent)


def _tabled(rows: Iterable[ExportRow], table: IO[bytes]) -> Iterator[ExportRow]:
    """The rows, each with its line in the table."""
    table.write(table_line(*TABLE_HEAD))
    for row in rows:
        table.write(table_row(row))
        yield row


def _labels(index: ManifestIndex) -> list[LabelSpec]:
    none = [""] * len(index.classes)
    known = zip(index.classes, index.class_ids or none, index.supercategories or none, strict=True)
    return [LabelSpec(name, "", identifier, supercategory) for name, identifier, supercategory in known]


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _PLAIN_FILE
    return entry


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
