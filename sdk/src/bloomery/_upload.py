"""From files to bytes that the server holds."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from bloomery._images import SUFFIXES
from bloomery._results import Progress, Step
from bloomery._session import Session
from bloomery._status import from_status
from bloomery._transfer import File, digest_of, together
from bloomery.annotation.v1 import BlobInfo, CompleteUploadsRequest, ImportFile, PrepareUploadsRequest, UploadTarget
from bloomery.common.v1 import Artifact
from bloomery.errors import BloomeryError, InvalidArgument, TransferFailed
from bloomery.training.v1 import CompleteInputUploadRequest, PrepareInputUploadRequest

_SUFFIXES = SUFFIXES | {".json", ".names", ".txt", ".xml", ".yaml", ".yml"}
_PAGE = 250
"""Blobs of one round trip: the server reads each of them again before it answers."""
_COMPLETE_SECONDS = 300.0
_ROUNDS = 3
_WORTH_REPEATING = frozenset({"BLOB_MISSING", "DIGEST_MISMATCH", "INPUT_MISSING", "REFUSED"})


async def upload_folder(session: Session, project: str, folder: Path, progress: Progress) -> list[ImportFile]:
    """Bring the images and label files of a folder to a project; what it has already does not travel.

    Raises:
        InvalidArgument: there is no such folder, or nothing in it could be imported.
        TransferFailed: the object store cannot be reached.
    """
    paths = await asyncio.to_thread(lambda: sorted(_files(folder)))
    if not paths:
        raise InvalidArgument(
            f"{folder} has no images or label files", hint="name a folder with VOC, COCO or YOLO files"
        )
    uploaded: list[ImportFile] = []
    for page in _pages(paths):
        files = await together(asyncio.to_thread(_read, path) for path in page)
        await upload(session, project, files)
        names = (path.relative_to(folder).as_posix() for path in page)
        uploaded += [ImportFile(path=name, digest=file.digest) for name, file in zip(names, files, strict=True)]
        progress(Step("uploading", len(uploaded), len(paths)))
    return uploaded


async def upload(session: Session, project: str, files: Sequence[File]) -> None:
    """Bring files, at most 1,000, to a project.

    Raises:
        TransferFailed: the object store cannot be reached, or keeps refusing a file.
        BloomeryError: the server refuses a file.
    """
    left = {file.digest: file for file in files}
    failure: BloomeryError = TransferFailed("nothing was sent")
    for _ in range(_ROUNDS):
        blobs = [BlobInfo(digest=file.digest, size_bytes=file.size) for file in left.values()]
        prepared = await session.call(
            session.annotation.PrepareUploads, PrepareUploadsRequest(parent=project, blobs=blobs)
        )
        left = {target.digest: left[target.digest] for target in prepared.missing}
        if not left:
            return
        try:
            await _send(session, project, left, prepared.missing)
        except BloomeryError as error:
            if error.reason not in _WORTH_REPEATING:
                raise
            failure = error
        else:
            return
    raise failure


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
    failure: BloomeryError = TransferFailed("nothing was sent")
    for _ in range(_ROUNDS):
        try:
            return await _send_input(session, project, file)
        except BloomeryError as error:
            if error.reason not in _WORTH_REPEATING:
                raise
            failure = error
    raise failure


async def _send_input(session: Session, project: str, file: File) -> Artifact:
    wanted = Artifact(digest=file.digest, size_bytes=file.size, file_name=file.path.name)
    prepared = await session.call(
        session.jobs.PrepareInputUpload, PrepareInputUploadRequest(parent=project, artifact=wanted)
    )
    if prepared.HasField("put"):
        await session.transfer.put(file, prepared.put)
    request = CompleteInputUploadRequest(parent=project, artifact=wanted)
    return await session.call(session.jobs.CompleteInputUpload, request, seconds=_COMPLETE_SECONDS)


async def _send(session: Session, project: str, files: dict[str, File], targets: Sequence[UploadTarget]) -> None:
    await together(session.transfer.put(files[target.digest], target.put) for target in targets)
    blobs = [BlobInfo(digest=file.digest, size_bytes=file.size) for file in files.values()]
    completed = await session.call(
        session.annotation.CompleteUploads,
        CompleteUploadsRequest(parent=project, blobs=blobs),
        seconds=_COMPLETE_SECONDS,
    )
    for result in completed.results:
        if result.status.code:
            error = from_status(result.status)
            error.hint = error.hint or f"look at {files[result.digest].path}"
            raise error


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InvalidArgument(f"{folder} is not a folder")
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _SUFFIXES and not hidden and path.is_file():
            yield path


def _read(path: Path) -> File:
    return File(path, digest_of(path), path.stat().st_size)


def _pages(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(paths), _PAGE):
        yield paths[start : start + _PAGE]
