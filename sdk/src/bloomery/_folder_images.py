"""Images of a folder as archives: the form in which jobs take images that are not the project's."""

import asyncio
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bloomery._folders import is_label_file, look, refuse_untold, unpacked
from bloomery._results import Progress, Step
from bloomery._session import Session
from bloomery._upload import upload_input
from bloomery.errors import InvalidArgument
from bloomery.training import v1 as training

ARCHIVE_BYTES = 256 << 20
"""From this size on an archive is closed, unless there would be too many."""
_MOST = 100


async def upload_images(
    session: Session, project: str, folder: str | Path, progress: Progress
) -> training.FolderImages:
    """Bring the images of a folder, or of a zip file of one, to a project for a job; what is there does not travel.

    Hidden files are left out. The same files make the same archives, so that what was broken off is gone on with.

    Raises:
        NotFound: there is no such folder.
        InvalidArgument: it has no images, or names that no message can hold, or is an archive that cannot be unpacked.
        TransferFailed: the object store cannot be reached.
    """
    given = await asyncio.to_thread(Path(folder).resolve)
    made = training.FolderImages()
    async with unpacked(given) as root:
        names = await asyncio.to_thread(_images, root, given)
        done = 0
        for number, some in enumerate(await asyncio.to_thread(_divided, root, names), 1):
            with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
                archive = Path(scratch, f"images-{number}.zip")
                await asyncio.to_thread(_pack, root, some, archive)
                made.archives.append(await upload_input(session, project, archive))
            done += len(some)
            progress(Step("uploading", done, len(names)))
    return made


def _images(root: Path, given: Path) -> Sequence[str]:
    folder = look(root, given)
    refuse_untold(folder, given)
    names = [name for name in folder.files() if not is_label_file(name)]
    if not names:
        hint = "files are known by endings such as .jpg and .png"
        raise InvalidArgument(f"{given} has no images", hint=hint)
    return names


def _divided(root: Path, names: Sequence[str]) -> Sequence[Sequence[str]]:
    """The images of each archive."""
    sizes = [(root / name).stat().st_size for name in names]
    enough = max(ARCHIVE_BYTES, -(-sum(sizes) // (_MOST - 1)))
    return list(_closed(names, sizes, enough))


def _closed(names: Sequence[str], sizes: Sequence[int], enough: int) -> Iterator[Sequence[str]]:
    some, size = list[str](), 0
    for name, more in zip(names, sizes, strict=True):
        some.append(name)
        size += more
        if size >= enough:
            yield some
            some, size = [], 0
    if some:
        yield some


def _pack(root: Path, names: Sequence[str], target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            # Without the file's times, which would make another archive of the same bytes.
            member = zipfile.ZipInfo(name)
            with (root / name).open("rb") as source:
                member.file_size = (root / name).stat().st_size
                with archive.open(member, "w") as into:
                    shutil.copyfileobj(source, into, 1 << 20)
