"""From files to bytes that the server holds."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from itertools import chain, filterfalse, islice
from pathlib import Path
from typing import TypeVar

from bloomery._concurrency import each, in_order, together
from bloomery._files import File, digest_of
from bloomery._folders import Folder, is_label_file
from bloomery._results import Progress, Step
from bloomery._session import Session
from bloomery._status import from_status
from bloomery.annotation.v1 import (
    BlobContent,
    BlobInfo,
    CompleteUploadsRequest,
    Import,
    ImportFile,
    PrepareUploadsRequest,
    UploadBlobsRequest,
    UploadResult,
    UploadTarget,
)
from bloomery.common.v1 import Artifact, UploadPart
from bloomery.errors import BloomeryError, InvalidArgument
from bloomery.training.v1 import CompleteInputUploadRequest, PrepareInputUploadRequest, PrepareInputUploadResponse

P = TypeVar("P")
T = TypeVar("T")
_PAGE = 250
"""Blobs of one round trip: the server reads each of them again before it answers."""
BUNDLED_BYTES = 4 << 20
"""Files up to this size travel with a call, as many as have it together; larger ones by requests of their own."""
PARTED_BYTES = 16 << 20
"""Larger ones travel in parts."""
_PARTS = 4
"""Parts of a file on the way at once. More would get lost where this process ends."""
_LARGE = 2
"""Such files at once: parts of the next one travel while the server reads one."""
_PAGES = 3
"""On the way at once: one is read here, one travels, one is checked there."""
INLINE_FILES = 10_000
"""Those of more travel as a file: a message has its limit."""
_COMPLETE_SECONDS = 300.0
_ROUNDS = 3
_WORTH_REPEATING = frozenset({"BLOB_MISSING", "DIGEST_MISMATCH", "INPUT_MISSING", "REFUSED"})


async def upload_folder(
    session: Session, project: str, folder: Folder, progress: Progress, *, plan_only: bool = False
) -> Import:
    """Bring the files of a folder to a project, and return what to import; what it has already does not travel.

    With `plan_only` only those that may hold labels are brought; of all others the names are told.

    Raises:
        TransferFailed: the object store cannot be reached.
    """
    count = folder.count + sum(folder.skipped.values())
    async with aclosing(_listed(session, project, folder, progress, plan_only=plan_only)) as pages:
        if count <= INLINE_FILES:
            return Import(files=[file async for page in pages for file in page], plan_only=plan_only)
        with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
            listed = Path(scratch, "files.jsonl")
            async for page in pages:
                await asyncio.to_thread(_list, listed, page)
            file = await asyncio.to_thread(_read, listed)
            await upload(session, project, [file])
    return Import(file_list=file.digest, plan_only=plan_only)


def _list(path: Path, files: Sequence[ImportFile]) -> None:
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps({'path': file.path, 'digest': file.digest})}\n" for file in files)


async def _listed(
    session: Session, project: str, folder: Folder, progress: Progress, *, plan_only: bool
) -> AsyncGenerator[Sequence[ImportFile], None]:
    """The files that are sent, page by page as they arrive, then the others."""
    names = filter(is_label_file, folder.files()) if plan_only else folder.files()
    done = 0
    pages = (_upload_page(session, project, folder.root, page) for page in _paged(names))
    async with aclosing(in_order(pages, _PAGES)) as brought:
        async for files in brought:
            done += len(files)
            if not plan_only:
                progress(Step("uploading", done, folder.count))
            yield files
    told = chain(filterfalse(is_label_file, folder.files()) if plan_only else (), folder.others())
    for page in _paged(told):
        yield [ImportFile(path=name) for name in page]


async def _upload_page(session: Session, project: str, root: Path, names: Sequence[str]) -> Sequence[ImportFile]:
    files = await asyncio.to_thread(lambda: [_read(root / name) for name in names])
    await upload(session, project, files)
    return [ImportFile(path=name, digest=file.digest) for name, file in zip(names, files, strict=True)]


async def upload(session: Session, project: str, files: Sequence[File]) -> None:
    """Bring files, at most 1,000, to a project.

    Raises:
        TransferFailed: the object store cannot be reached, or keeps refusing a file.
        BloomeryError: the server refuses a file.
    """
    wanted = {file.digest: file for file in files}.values()
    small = [file for file in wanted if file.size <= PARTED_BYTES]
    large = [[file] for file in wanted if file.size > PARTED_BYTES]
    await each([small, *large] if small else large, lambda group: _bring(session, project, group), _LARGE)


async def _bring(session: Session, project: str, files: Sequence[File]) -> None:
    in_parts = files[0].size > PARTED_BYTES
    left = {file.digest: file for file in files}

    async def prepare() -> Sequence[UploadTarget]:
        nonlocal left
        blobs = [BlobInfo(digest=file.digest, size_bytes=file.size) for file in left.values()]
        request = PrepareUploadsRequest(
            parent=project, blobs=blobs, unsigned_up_to_bytes=BUNDLED_BYTES, in_parts=in_parts
        )
        missing = (await session.call(session.annotation.PrepareUploads, request)).missing
        left = {target.digest: left[target.digest] for target in missing}
        return missing

    await _in_rounds(
        prepare,
        lambda targets: sum(max(1, len(target.parts)) for target in targets),
        lambda targets: _send(session, project, left, targets),
    )


async def _in_rounds(
    prepare: Callable[[], Awaitable[P]], left: Callable[[P], int], bring: Callable[[P], Awaitable[T]]
) -> T:
    """Ask what is left, bring it, and begin again where that may help; after a round that got further, as the first."""
    least, rounds = sys.maxsize, 0
    while True:
        prepared = await prepare()
        rounds = rounds + 1 if left(prepared) >= least else 1
        least = min(least, left(prepared))
        try:
            return await bring(prepared)
        except BloomeryError as error:
            if rounds == _ROUNDS or error.reason not in _WORTH_REPEATING:
                raise


async def upload_input(session: Session, project: str, path: Path) -> Artifact:
    """Bring a file for a job to a project, unless it is there, and return what to give the job.

    Raises:
        InvalidArgument: there is no such file, or it is too large.
        TransferFailed: the object store cannot be reached, or keeps refusing the file.
    """
    if not await asyncio.to_thread(path.is_file):
        raise InvalidArgument(f"{path} is not a file")
    file = await asyncio.to_thread(_read, path)
    if not file.size:
        raise InvalidArgument(f"{path} is empty")
    wanted = Artifact(digest=file.digest, size_bytes=file.size, file_name=file.path.name)

    async def prepare() -> PrepareInputUploadResponse:
        request = PrepareInputUploadRequest(parent=project, artifact=wanted, in_parts=True)
        return await session.call(session.jobs.PrepareInputUpload, request)

    async def bring(prepared: PrepareInputUploadResponse) -> Artifact:
        await _put(session, file, prepared)
        request = CompleteInputUploadRequest(parent=project, artifact=wanted)
        return await session.call(session.jobs.CompleteInputUpload, request, seconds=_COMPLETE_SECONDS)

    return await _in_rounds(prepare, lambda prepared: max(1, len(prepared.parts)), bring)


async def _send(session: Session, project: str, files: dict[str, File], targets: Sequence[UploadTarget]) -> None:
    small = [file for file in files.values() if file.size <= BUNDLED_BYTES]
    for bundle in _bundles(small):
        await _send_bundle(session, project, bundle)
    large = [target for target in targets if files[target.digest].size > BUNDLED_BYTES]
    if large:
        await _send_each(session, project, files, large)


async def _send_bundle(session: Session, project: str, bundle: Sequence[File]) -> None:
    async with session.turns:
        blobs = await asyncio.to_thread(lambda: [_content(file) for file in bundle])
        request = UploadBlobsRequest(parent=project, blobs=blobs)
        answer = await session.call(session.annotation.UploadBlobs, request, seconds=_COMPLETE_SECONDS)
    _check(answer.results, {file.digest: file for file in bundle})


def _content(file: File) -> BlobContent:
    # One that has grown since it was measured is another one, and cut off it is refused as such.
    with file.path.open("rb") as opened:
        return BlobContent(digest=file.digest, content=opened.read(file.size + 1))


async def _send_each(session: Session, project: str, files: dict[str, File], targets: Sequence[UploadTarget]) -> None:
    await together(_put(session, files[target.digest], target) for target in targets)
    blobs = [BlobInfo(digest=target.digest, size_bytes=files[target.digest].size) for target in targets]
    request = CompleteUploadsRequest(parent=project, blobs=blobs)
    completed = await session.call(session.annotation.CompleteUploads, request, seconds=_COMPLETE_SECONDS)
    _check(completed.results, files)


async def _put(session: Session, file: File, target: UploadTarget | PrepareInputUploadResponse) -> None:
    """Send the file, or the parts of it that are not there."""
    if target.HasField("put"):
        await session.transfer.put(file, target.put)

    async def send(part: UploadPart) -> None:
        await session.transfer.put(file, part.put, offset=part.offset, size=part.size_bytes)

    await each(target.parts, send, _PARTS)


def _check(results: Iterable[UploadResult], files: Mapping[str, File]) -> None:
    for result in results:
        if result.status.code:
            error = from_status(result.status)
            error.hint = error.hint or f"look at {files[result.digest].path}"
            raise error


def _bundles(files: Sequence[File]) -> Iterator[Sequence[File]]:
    bundle: list[File] = []
    size = 0
    for file in files:
        if bundle and size + file.size > BUNDLED_BYTES:
            yield bundle
            bundle, size = [], 0
        bundle.append(file)
        size += file.size
    if bundle:
        yield bundle


def _read(path: Path) -> File:
    return File(path, digest_of(path), path.stat().st_size)


def _paged(names: Iterator[str]) -> Iterator[Sequence[str]]:
    while page := list(islice(names, _PAGE)):
        yield page
