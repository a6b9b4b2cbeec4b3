"""Images that come as ZIP files as a manifest, so that a job sees them as it sees those of a dataset version."""

import asyncio
import hashlib
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from bloomery.training.v1 import Job
from bloomery.vision.v1 import TaskType
from bloomery_vision.images import ImageError, probe
from bloomery_vision.manifest import ManifestRow, ShardWriter
from bloomery_worker.blobs import CHUNK
from bloomery_worker.cache import BlobCache
from bloomery_worker.failures import DataError
from bloomery_worker.inputs import Advance, pages
from bloomery_worker.listing import keep_list

SLICE = 50
"""Images between two looks whether to stop."""
_HINT = "make ZIP files whose members are stored without compression, each under a relative path of its own"
Archive = tuple[str, Path]
"""A ZIP file: what it is called, and where it lies."""


async def unpack(
    archives: Sequence[Archive], cache: BlobCache, job: Job, task: TaskType.ValueType, folder: Path, advance: Advance
) -> Path:
    """Puts the images of archives, and a list of them, into the cache; returns the file of its index in `folder`.

    `advance` is told how many of how many images are there.

    Raises:
        DataError: a file is no such archive, or members of it cannot be used; names each.
    """
    total = await asyncio.to_thread(_checked, archives)
    shard = folder / "images.parquet"
    with ShardWriter(shard, ()) as writer:
        rows = pages(_rows(archives, cache), SLICE)
        while page := await asyncio.to_thread(next, rows, None):
            cache.pin(row.digest for row in page)
            for row in page:
                writer.write(row)
            advance(writer.rows, total)
    return await asyncio.to_thread(keep_list, cache, shard, writer.rows, job, task)


def _checked(archives: Sequence[Archive]) -> int:
    """How many images there are. Raises DataError with all that is wrong."""
    names, problems = Counter[str](), list[str]()
    for called, path in archives:
        try:
            with zipfile.ZipFile(path) as archive:
                members = _files(archive)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as problem:
            problems.append(f"{called} is no ZIP file: {problem}")
            continue
        names.update(member.filename for member in members)
        problems += [f"{member.filename}: {said}" for member in members if (said := _problem(member))]
        # Members that share their bytes would unpack to any size.
        if sum(member.file_size for member in members) > path.stat().st_size:
            problems.append(f"{called} has less bytes than its members")
    problems += [f"{name}: is there {count} times" for name, count in names.items() if count > 1]
    if not (problems or names):
        problems.append("there is no member")
    if problems:
        raise DataError("archives of images cannot be used", hint=_HINT, items=problems)
    return names.total()


def _files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if not member.is_dir()]


def _problem(member: zipfile.ZipInfo) -> str:
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        return "is compressed or encrypted"
    path = PurePosixPath(member.filename)
    usable = path.as_posix() == member.filename and not path.is_absolute() and ".." not in path.parts
    return "" if usable else "is no relative path"


def _rows(archives: Sequence[Archive], cache: BlobCache) -> Iterator[ManifestRow]:
    for called, path in archives:
        with zipfile.ZipFile(path) as archive:
            for member in _files(archive):
                try:
                    digest = _kept(archive, member, cache)
                except zipfile.BadZipFile as problem:
                    raise DataError(f"{called} is damaged: {problem}", hint=_HINT, items=[member.filename]) from problem
                yield _row(member, digest, cache.path(digest))


def _kept(archive: zipfile.ZipFile, member: zipfile.ZipInfo, cache: BlobCache) -> str:
    """The digest of a member, whose bytes are in the cache now."""
    # Of the member's place in the archive: its own digest is known only once it was read.
    part = cache.new_file(hashlib.sha256(member.filename.encode()).hexdigest())
    try:
        with archive.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        with part.open("rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        cache.path(digest).parent.mkdir(exist_ok=True)
        cache.keep(part, digest)
    finally:
        part.unlink(missing_ok=True)
    return digest


def _row(member: zipfile.ZipInfo, digest: str, path: Path) -> ManifestRow:
    try:
        info = probe(path, verify=False)
    except ImageError:
        # Its line will say so.
        width, height, media_type = 0, 0, ""
    else:
        width, height, media_type = info.width, info.height, info.media_type
    return ManifestRow(
        asset="",
        digest=digest,
        logical_key="",
        size_bytes=member.file_size,
        media_type=media_type,
        width=width,
        height=height,
        split="",
        group="",
        file_name=member.filename,
        original_name=member.filename,
    )
