"""The images of a project as a manifest, so that a job sees them as it sees those of a dataset version."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from bloomery.training.v1 import Job, JobImage
from bloomery.vision.v1 import TaskType
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, ShardWriter
from bloomery_worker.blobs import digest_of
from bloomery_worker.cache import BlobCache
from bloomery_worker.client import WorkerClient


async def list_images(client: WorkerClient, cache: BlobCache, job: Job, task: TaskType.ValueType, folder: Path) -> Path:
    """Asks for all images of a job, puts their list into the cache, and returns the file of its index in `folder`."""
    shard = folder / "images.parquet"
    with ShardWriter(shard, ()) as writer:
        after, more = "", True
        while more:
            page = await client.list_images(after)
            await asyncio.to_thread(_write, writer, page.images)
            after, more = page.after, bool(page.after)
    return await asyncio.to_thread(keep_list, cache, shard, writer.rows, job, task)


def _write(writer: ShardWriter, images: Sequence[JobImage]) -> None:
    for image in images:
        writer.write(_row(image))


def _row(image: JobImage) -> ManifestRow:
    return ManifestRow(
        asset=image.asset,
        digest=image.digest,
        logical_key=image.logical_key,
        size_bytes=image.size_bytes,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        split=image.split,
        group="",
        file_name=image.display_name or image.asset.rpartition("/")[2],
        original_name=image.display_name,
    )


def keep_list(cache: BlobCache, shard: Path, rows: int, job: Job, task: TaskType.ValueType) -> Path:
    """Puts a list of images, the file `shard`, into the cache, and returns the file of its index, beside it."""
    digest, size = digest_of(shard), shard.stat().st_size
    cache.pin([digest])
    part = cache.new_file(digest)
    shutil.copyfile(shard, part)
    cache.keep(part, digest)
    index = ManifestIndex(
        content_hash="",
        task=TaskType.Name(task).removeprefix("TASK_TYPE_").lower(),
        classes=(),
        project_uid=job.project_uid,
        read_sequence=job.project_images.read_sequence,
        shards=(ManifestShard("", digest, size, rows),),
    )
    path = shard.with_name("images.json")
    path.write_bytes(index.to_json())
    return path
