"""The import of labels alone, of images that are stored already: their bytes are neither sent nor looked at."""

import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from bloomery.annotation.v1 import (
    AnnotationServiceStub,
    CreateImportRequest,
    CreateProjectRequest,
    Import,
    Project,
    WatchImportRequest,
)
from bloomery_annotation.app import SCHEMA
from bloomery_annotation.model import Blob
from bloomery_annotation.names import blob_key
from bloomery_annotation.store import blobs, projects
from bloomery_kit.clients import channel
from bloomery_kit.database import Database
from bloomery_kit.objects import open_object_store
from bloomery_kit.settings import FolderStoreSettings
from bloomery_kit.times import utc_now
from harness.services import running_service

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

BOXES = 10
CLASSES = tuple(f"class {number}" for number in range(20))
WIDTH, HEIGHT = 800, 600
_TOKEN = "t" * 32
_AT_ONCE = 5_000


class Drawn(NamedTuple):
    """A box: the numbers of its image and its class, and its place in pixels."""

    image: int
    category: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Labels:
    """So many images of one size, and boxes on them."""

    count: int
    boxes: Sequence[Drawn]

    @property
    def names(self) -> Sequence[str]:
        """What the images are called."""
        return [f"{number:07}.jpg" for number in range(self.count)]

    def coco(self) -> bytes:
        """A COCO file of them."""
        images = [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, name in enumerate(self.names)
        ]
        content = {
            "images": images,
            "annotations": [_record(number, box) for number, box in enumerate(self.boxes)],
            "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        }
        return json.dumps(content).encode()


def draw(count: int) -> Labels:
    """Ten boxes on each of `count` images, of twenty classes, anywhere."""
    drawn = random.Random(count)  # noqa: S311 - no secrets
    return Labels(count, [_box(drawn, number) for number in range(count) for _ in range(BOXES)])


def _box(drawn: random.Random, image: int) -> Drawn:
    left, top = round(drawn.uniform(0, WIDTH - 101), 2), round(drawn.uniform(0, HEIGHT - 101), 2)
    width, height = round(drawn.uniform(10, 100), 2), round(drawn.uniform(10, 100), 2)
    return Drawn(image, drawn.randrange(len(CLASSES)), left, top, width, height)


def _record(number: int, box: Drawn) -> Mapping[str, object]:
    place = [box.x, box.y, box.width, box.height]
    common = {"id": number, "image_id": box.image, "category_id": box.category, "bbox": place}
    return common | {"area": box.width * box.height, "iscrowd": 0, "segmentation": []}


async def seconds_of_import(place: Path, labels: Labels) -> float:
    """Seconds from the request to the end of an import, by a service of its own with SQLite in an empty folder."""
    url = f"sqlite+aiosqlite:///{place}/annotation.db"
    settings = {"BLOOMERY_DATABASE_URL": url, "BLOOMERY_TOKEN": _TOKEN}
    with running_service("bloomery_annotation", place, settings) as (target, _):
        async with channel(target, token=_TOKEN) as connection:
            return await _timed(AnnotationServiceStub(connection), url, place / "blobs", labels)


async def _timed(stub: "AnnotationServiceAsyncStub", url: str, root: Path, labels: Labels) -> float:
    project = "labels"
    made = await stub.CreateProject(CreateProjectRequest(project=Project(display_name=project), project_id=project))
    file_list = await _store(url, root, project, labels)
    started = time.monotonic()
    request = CreateImportRequest(parent=made.name, **{"import": Import(file_list=file_list)})  # type: ignore[arg-type]
    begun = await stub.CreateImport(request)
    states = [state async for state in stub.WatchImport(WatchImportRequest(name=begun.name))]
    seconds = time.monotonic() - started
    if states[-1].state != Import.STATE_SUCCEEDED or states[-1].shape_count != len(labels.boxes):
        raise SystemExit(f"the import did not go well: {states[-1]}")
    return seconds


async def _store(url: str, root: Path, project_id: str, labels: Labels) -> str:
    """Have the service's own store write down images that lie nowhere, and the files; the digest of their list."""
    db = Database.connect(url, SCHEMA)
    objects = open_object_store(
        FolderStoreSettings(root=root, base_url="http://127.0.0.1:1", signing_key=SecretStr("k" * 32))
    )
    async with db.read() as tx:
        project = await projects.find(tx, project_id)
    images = [Blob(_digest(name.encode()), 100_000, "image/jpeg", WIDTH, HEIGHT) for name in labels.names]
    described = labels.coco()
    listed = b"".join(_lines(labels, _digest(described)))
    for data in (described, listed):
        await objects.put(blob_key(project.uid, _digest(data)), data, content_type="")
    files = [Blob(_digest(data), len(data)) for data in (described, listed)]
    for start in range(0, len(images), _AT_ONCE):
        async with db.write() as tx:
            await blobs.keep(tx, project.uid, [*files, *images[start : start + _AT_ONCE]], utc_now(), {})
    await db.close()
    return files[1].digest


def _lines(labels: Labels, described: str) -> Iterator[bytes]:
    files = {f"images/{name}": _digest(name.encode()) for name in labels.names}
    for path, digest in {"annotations/instances.json": described, **files}.items():
        yield json.dumps({"path": path, "digest": digest}).encode() + b"\n"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
