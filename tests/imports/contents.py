"""What a project holds, so that one import can be compared with another, byte for byte and shape for shape."""

import asyncio
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from bloomery._aio.data import AsyncAsset
from bloomery._aio.project import AsyncProject
from bloomery.annotation.v1 import AnnotationSet


@dataclass(frozen=True)
class Image:
    """An image; `digest` is that of the bytes that were downloaded, `sets` are the shapes of each set."""

    path: str
    digest: str
    width: int
    height: int
    split: str
    sets: Sequence[str]


@dataclass(frozen=True)
class Contents:
    """All of a project but for what each import makes anew: ids and times."""

    labels: Sequence[str]
    images: Sequence[Image]


async def contents(project: AsyncProject) -> Contents:
    """Read everything that a project holds, the bytes of its images too."""
    labels = [
        f"{label.name.rpartition('/')[2]} {label.display_name!r} {label.proto.color}, {label.proto.shape_count} shapes"
        async for label in project.labels()
    ]
    sets: defaultdict[str, list[str]] = defaultdict(list)
    async for found in project.annotation_sets():
        asset, _, name = found.name.partition("/annotationSets/")
        sets[asset].append(_words(name, found))
    with tempfile.TemporaryDirectory(prefix="bloomery-") as scratch:
        images = await asyncio.gather(
            *[_image(asset, sorted(sets[asset.name]), Path(scratch)) async for asset in project.assets()]
        )
    return Contents(labels, sorted(images, key=lambda image: (image.path, image.digest)))


def differences(found: Contents, wanted: Contents) -> Iterator[str]:
    """What of a project is not as it should be, in words."""
    if found.labels != wanted.labels:
        yield f"labels are {found.labels}, not {wanted.labels}"
    for image in _without(found.images, wanted.images):
        yield f"there is {image}"
    for image in _without(wanted.images, found.images):
        yield f"missing is {image}"


def images_of(folder: Path) -> Sequence[tuple[str, str]]:
    """Path and digest of the images of a folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".png"})
    return [(path.relative_to(folder).as_posix(), digest_of(path)) for path in found]


def digest_of(path: Path) -> str:
    """Digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def _image(asset: AsyncAsset, sets: Sequence[str], scratch: Path) -> Image:
    path = await asset.download(scratch / asset.proto.uid)
    proto = asset.proto
    return Image(proto.display_name, digest_of(path), proto.width, proto.height, proto.split, sets)


def _words(name: str, found: AnnotationSet) -> str:
    shapes = [text_format.MessageToString(shape, as_one_line=True) for shape in found.shapes]
    return f"{name}, revision {found.revision} of source {found.provenance.source}: {'; '.join(shapes)}"


def _without(images: Sequence[Image], others: Sequence[Image]) -> list[Image]:
    left = list(others)
    more = []
    for image in images:
        if image in left:
            left.remove(image)
        else:
            more.append(image)
    return more
