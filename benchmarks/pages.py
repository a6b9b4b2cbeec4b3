"""Listing a million images page by page, to the end: what a page costs wherever it is."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from bloomery.annotation.v1 import AnnotationServiceStub, CreateProjectRequest, ListAssetsRequest, Project
from bloomery_kit.clients import channel
from harness.annotations import add_images
from harness.measure import Options, Table, milliseconds, options, percentile, report, say
from harness.server import scratch
from harness.services import running_service
from real_parts.postgres import run_postgres

if TYPE_CHECKING:
    from bloomery.annotation.v1.annotation_service_pb2_grpc import AnnotationServiceAsyncStub

IMAGES = 1_000_000
PAGE = 1000
ENDS = 10
TOKEN = "t" * 32


@dataclass(frozen=True)
class Walk:
    """Seconds of each page, in order, of one walk through all images that a filter lets through."""

    database: str
    images: int
    filter: str
    pages: list[float]


async def walk(stub: "AnnotationServiceAsyncStub", database: str, images: int, text: str) -> Walk:
    """List all images."""
    request, pages = ListAssetsRequest(parent="projects/p", page_size=PAGE, filter=text), []
    while True:
        started = time.monotonic()
        page = await stub.ListAssets(request)
        pages.append(time.monotonic() - started)
        if not page.next_page_token:
            return Walk(database, images, text, pages)
        request.page_token = page.next_page_token


@asynccontextmanager
async def project_of(place: Path, database_url: str, images: int) -> AsyncIterator["AnnotationServiceAsyncStub"]:
    """A service with one project."""
    settings = {"BLOOMERY_DATABASE_URL": database_url, "BLOOMERY_TOKEN": TOKEN}
    with running_service("bloomery_annotation", place, settings) as (target, _):
        async with channel(target, token=TOKEN) as connection:
            stub = AnnotationServiceStub(connection)
            await stub.CreateProject(CreateProjectRequest(project=Project(display_name="p"), project_id="p"))
            say(f"writing {images:,} images")
            await add_images(database_url, "p", images)
            yield stub


async def measure(chosen: Options) -> list[Walk]:
    """Walks through all images and through every tenth, on both databases."""
    found, images = [], IMAGES // 5 if chosen.quick else IMAGES
    with scratch() as place, run_postgres(place) as postgres:
        connection = await asyncpg.connect(postgres.url("postgres", driver="postgresql"))
        await connection.execute("CREATE DATABASE images")
        await connection.close()
        for name, url in (
            ("SQLite", f"sqlite+aiosqlite:///{place}/images.db"),
            ("PostgreSQL", postgres.url("images")),
        ):
            async with project_of(place, url, images) as stub:
                found += [await walk(stub, name, images, text) for text in ("", "split:val")]
    return found


def row(one: Walk) -> tuple[str, ...]:
    """One walk as a row."""
    first, *rest = one.pages
    begin, end = statistics.median(one.pages[1 : ENDS + 1]), statistics.median(one.pages[-ENDS - 1 : -1])
    times = (first, begin, end, percentile(rest, 99))
    shown = (milliseconds(each) for each in times)
    return one.database, f"{one.images:,}", one.filter or "none", f"{len(one.pages):,}", *shown, f"{end / begin:.2f}"


def main() -> None:
    """Measure and report."""
    chosen = options("listing images", rounds=1)
    columns = (
        "database",
        "images",
        "filter",
        "pages",
        "first page",
        "next ten",
        "last ten",
        "99 % below",
        "last / next",
    )
    walks = asyncio.run(measure(chosen))
    note = "The first page of a filter counts what it lets through; the others are told by their tokens."
    report("pages", [Table(f"pages of {PAGE:,} images", columns, [row(one) for one in walks], note)], chosen)


if __name__ == "__main__":
    main()
