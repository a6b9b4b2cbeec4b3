"""Dataset versions of a million images: the memory of building, listing and exporting them."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bloomery.annotation.v1 import AnnotationServiceStub, CreateLabelRequest, CreateProjectRequest, Label, Project
from bloomery.dataset.v1 import (
    CreateDatasetVersionRequest,
    DatasetServiceStub,
    DatasetSpec,
    DatasetVersion,
    ExportDatasetVersionRequest,
    ExportFormat,
    GetDatasetVersionRequest,
    ListDatasetItemsRequest,
    SplitPolicy,
)
from bloomery.vision.v1 import TaskType
from bloomery_kit.clients import channel
from harness.annotations import add_images
from harness.measure import (
    Options,
    Table,
    forget_peak,
    milliseconds,
    options,
    peak_resident_bytes,
    percentile,
    report,
    resident_bytes,
    say,
)
from harness.server import scratch
from harness.services import running_service

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub

SIZES = (100_000, 1_000_000)
QUICK = (5_000, 20_000)
LABELS = ("common", "frequent", "rare")
PAGE = 1000
ENDS = 10
LIMIT = 1 << 30
EXPORT_SECONDS = 3600.0
TOKEN = "t" * 32


@dataclass(frozen=True)
class Services:
    """Annotation and dataset service, each a process of its own on SQLite."""

    annotation: "AnnotationServiceAsyncStub"
    dataset: "DatasetServiceAsyncStub"
    annotation_url: str
    annotation_pid: int
    dataset_pid: int


@dataclass(frozen=True)
class Work:
    """What the dataset service did with `images` images; the peaks of both services' resident memory in bytes."""

    what: str
    images: int
    seconds: float
    peak: int
    neighbour_peak: int


@asynccontextmanager
async def running_services(place: Path) -> AsyncIterator[Services]:
    """Both services."""
    urls = {name: f"sqlite+aiosqlite:///{place}/{name}.db" for name in ("annotation", "dataset")}
    with ExitStack() as stack:
        start = {name: {"BLOOMERY_DATABASE_URL": url, "BLOOMERY_TOKEN": TOKEN} for name, url in urls.items()}
        target, pid = stack.enter_context(running_service("bloomery_annotation", place, start["annotation"]))
        more = {"BLOOMERY_ANNOTATION_TARGET": target, "BLOOMERY_CACHE_DIR": str(place / "cache")}
        dataset_target, dataset_pid = stack.enter_context(
            running_service("bloomery_dataset", place, start["dataset"] | more)
        )
        async with AsyncExitStack() as channels:
            stubs = [await channels.enter_async_context(channel(one, token=TOKEN)) for one in (target, dataset_target)]
            yield Services(
                AnnotationServiceStub(stubs[0]), DatasetServiceStub(stubs[1]), urls["annotation"], pid, dataset_pid
            )


async def make_project(services: Services, images: int) -> str:
    """A project of annotated images, and its id."""
    project, stub = f"p{images}", services.annotation
    await stub.CreateProject(CreateProjectRequest(project=Project(display_name=project), project_id=project))
    for label in LABELS:
        request = CreateLabelRequest(parent=f"projects/{project}", label=Label(display_name=label), label_id=label)
        await stub.CreateLabel(request)
    say(f"writing {images:,} images")
    await add_images(services.annotation_url, project, images, labels=LABELS)
    return project


async def build(services: Services, project: str, images: int) -> tuple[str, Work]:
    """Build a version of all images; its name."""
    say(f"building a version of {images:,} images")
    spec = DatasetSpec(
        source=f"projects/{project}",
        task=TaskType.TASK_TYPE_DETECT,
        split=SplitPolicy(method=SplitPolicy.METHOD_RATIO, train_percent=70, val_percent=20, test_percent=10),
    )
    request = CreateDatasetVersionRequest(
        parent=f"projects/{project}/datasets/d",
        dataset_version=DatasetVersion(spec=spec),
        allow_missing_dataset=True,
    )
    started = _start(services)
    version = await services.dataset.CreateDatasetVersion(request)
    while version.state == DatasetVersion.STATE_BUILDING:
        await asyncio.sleep(0.5)
        version = await services.dataset.GetDatasetVersion(GetDatasetVersionRequest(name=version.name))
    if version.state != DatasetVersion.STATE_READY:
        raise SystemExit(f"the build failed: {version.error.message}")
    return version.name, _done(services, "build", images, started)


async def walk(services: Services, version: str, images: int) -> tuple[list[float], Work]:
    """List all images page by page; the seconds of each."""
    say(f"listing {images:,} images")
    request, pages = ListDatasetItemsRequest(parent=version, page_size=PAGE), []
    begun = _start(services)
    while True:
        started = time.monotonic()
        page = await services.dataset.ListDatasetItems(request)
        pages.append(time.monotonic() - started)
        if not page.next_page_token:
            return pages, _done(services, f"pages of {PAGE:,}", images, begun)
        request.page_token = page.next_page_token


async def export(services: Services, version: str, images: int, name: str) -> Work:
    """Make an archive of label files."""
    say(f"exporting {images:,} images as {name}")
    kind = ExportFormat.Value(f"EXPORT_FORMAT_{name.upper()}")
    started = _start(services)
    await services.dataset.ExportDatasetVersion(
        ExportDatasetVersionRequest(name=version, format=kind), timeout=EXPORT_SECONDS
    )
    return _done(services, f"export, {name}", images, started)


async def measure(chosen: Options) -> list[Table]:
    """All of it with both sizes."""
    works: list[Work] = []
    pages: list[float] = []
    with scratch() as place:
        async with running_services(place) as services:
            idle = resident_bytes(services.dataset_pid)
            for images in QUICK if chosen.quick else SIZES:
                project = await make_project(services, images)
                version, built = await build(services, project, images)
                pages, listed = await walk(services, version, images)
                works += [built, listed]
                works += [await export(services, version, images, name) for name in ("yolo", "coco")]
    return [memory_table(works, idle), page_table(pages)]


def memory_table(works: Sequence[Work], idle: int) -> Table:
    """Time and memory."""
    columns = ("images", "what", "s", "images/s", "dataset service, MiB", "annotation service, MiB", "limit, MiB")
    rows = [
        (
            f"{one.images:,}",
            one.what,
            f"{one.seconds:.1f}",
            f"{one.images / one.seconds:,.0f}",
            f"{one.peak >> 20}",
            f"{one.neighbour_peak >> 20}",
            f"{LIMIT >> 20:,}",
        )
        for one in sorted(works, key=lambda one: one.images)
    ]
    note = f"The dataset service has {idle >> 20} MiB before it has done anything."
    return Table("dataset versions, greatest resident memory of both services meanwhile", columns, rows, note)


def page_table(pages: Sequence[float]) -> Table:
    """Pages at both ends."""
    begin, end = statistics.median(pages[1 : ENDS + 1]), statistics.median(pages[-ENDS - 1 : -1])
    row = (*(milliseconds(each) for each in (begin, end, percentile(pages, 99))), f"{end / begin:.2f}")
    columns = ("first ten", "last ten", "99 % below", "last / first")
    return Table(f"{len(pages):,} pages of {PAGE:,} images of a version", columns, [row])


def _start(services: Services) -> float:
    for pid in (services.annotation_pid, services.dataset_pid):
        forget_peak(pid)
    return time.monotonic()


def _done(services: Services, what: str, images: int, started: float) -> Work:
    seconds = time.monotonic() - started
    peaks = (peak_resident_bytes(pid) for pid in (services.dataset_pid, services.annotation_pid))
    return Work(what, images, seconds, *peaks)


def main() -> None:
    """Measure and report."""
    chosen = options("building, listing and exporting large dataset versions", rounds=1)
    report("large", asyncio.run(measure(chosen)), chosen)


if __name__ == "__main__":
    main()
