"""Moving a data folder into PostgreSQL and a bucket, beside the least that any program must do.

For rows that is COPY, out of the tables that were filled and into empty ones of the same kind; for files a PUT of each.
"""

import asyncio
import hashlib
import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from minio import Minio
from pydantic import SecretStr

from bloomery import Client
from bloomery_kit.settings import S3StoreSettings
from bloomery_server.migrate.parts import PARTS
from bloomery_server.migrate.run import Wish, run
from bloomery_server.migrate.settings import MigrationSettings
from bloomery_server.migrate.target import Target
from harness.annotations import add_images
from harness.measure import Options, Table, options, report, say
from harness.server import Server, scratch
from real_parts.minio import MinioServer, run_minio
from real_parts.postgres import PostgresServer, run_postgres

IMAGES = 100_000
FILES = 5_000
FILE_BYTES = 100_000
BUCKET = "moved"
_THREADS = 16


@dataclass(frozen=True)
class Moved:
    """Rows and files, and the seconds that each step took; `copied` and `put` are those of the peers."""

    rows: int
    files: int
    look: float
    fill: float
    upload: float
    compare: float
    copied: float
    put: float


def make(folder: Path, images: int, files: int) -> None:
    """A data folder with images that are rows only, and files that are no images."""
    server = Server(folder, {})
    server.start()
    with Client(server.endpoint, token=server.token) as client:
        project = client.create_project("p")
        labels = [project.create_label(name).id for name in ("red", "white", "platelet")]
        uid = project.proto.uid
    server.stop()
    asyncio.run(add_images(f"sqlite+aiosqlite:///{folder}/annotation.db", "p", images, labels=labels))
    (folder / "blobs" / uid).mkdir(parents=True, exist_ok=True)
    for _ in range(files):
        content = os.urandom(FILE_BYTES)
        (folder / "blobs" / uid / hashlib.sha256(content).hexdigest()).write_bytes(content)


async def move(folder: Path, postgres: PostgresServer, minio: MinioServer) -> Moved:
    """One migration, then its peers on what it made."""
    endpoint = f"http://{minio.endpoint}"
    store = S3StoreSettings(
        endpoint=endpoint,
        public_endpoint=endpoint,
        bucket=BUCKET,
        access_key=SecretStr(minio.access_key),
        secret_key=SecretStr(minio.secret_key),
    )
    settings = MigrationSettings(database_url=postgres.url("target"), object_store=store)
    times: list[tuple[str, float]] = [("", time.monotonic())]
    found = await run(folder, settings, Wish(), tell=lambda text: times.append((text, time.monotonic())))
    ended = time.monotonic()
    assert found.state == "COMPLETE"
    tables, files, comparing = (
        next(when for text, when in times if mark(text))
        for mark in (
            lambda text: "." in text,
            lambda text: text.endswith("files"),
            lambda text: text.startswith("comparing"),
        )
    )
    return Moved(
        rows=found.rows,
        files=found.files,
        look=tables - times[0][1],
        fill=files - tables,
        upload=comparing - files,
        compare=ended - comparing,
        copied=await copy_rows(postgres),
        put=await asyncio.to_thread(put_files, folder / "blobs", minio),
    )


async def copy_rows(postgres: PostgresServer) -> float:
    """Seconds of COPY for all tables."""
    async with Target.open(postgres.url("peer")) as target:
        await target.prepare()
        async with target.db.write() as tx:
            await target.clear(tx)
    origin, goal = [await asyncpg.connect(postgres.url(name, driver="postgresql")) for name in ("target", "peer")]
    started = time.monotonic()
    for part in PARTS:
        for table in part.tables:
            rows = io.BytesIO()
            named = {"schema_name": part.schema, "format": "binary"}
            await origin.copy_from_table(table.name, output=rows, **named)
            rows.seek(0)
            await goal.copy_to_table(table.name, source=rows, **named)
    seconds = time.monotonic() - started
    await origin.close()
    await goal.close()
    return seconds


def put_files(blobs: Path, minio: MinioServer) -> float:
    """Seconds of a PUT for each file, some at once."""
    client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
    files = [path for path in blobs.rglob("*") if path.is_file() and ".tmp" not in path.parts]
    started = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(lambda path: client.fput_object("peer", path.name, str(path)), files))
    return time.monotonic() - started


async def _new_database(postgres: PostgresServer, name: str) -> None:
    connection = await asyncpg.connect(postgres.url("postgres", driver="postgresql"))
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()


def measure(chosen: Options) -> list[Moved]:
    """As many migrations of one folder as there are rounds."""
    found = []
    with scratch() as place:
        (place / "data").mkdir()
        say("making a data folder")
        make(place / "data", IMAGES // 10 if chosen.quick else IMAGES, FILES // 10 if chosen.quick else FILES)
        with run_postgres(place) as postgres, run_minio(place) as minio:
            client = Minio(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)
            for name in (BUCKET, "peer"):
                client.make_bucket(name)
            for _ in range(chosen.rounds):
                for name in ("target", "peer"):
                    asyncio.run(_new_database(postgres, name))
                found.append(asyncio.run(move(place / "data", postgres, minio)))
    return found


def rows_of(one: Moved) -> list[tuple[str, ...]]:
    """One migration as rows."""
    return [
        ("looking at the folder, and every row", f"{one.rows:,} rows", f"{one.look:.1f} s", "", ""),
        ("rows, and how far they are", f"{one.rows:,} rows", *_beside(one.fill, one.copied)),
        ("files, and their digests", f"{one.files:,} files", *_beside(one.upload, one.put)),
        ("comparing both sides", "all of both", f"{one.compare:.1f} s", "", ""),
    ]


def _beside(ours: float, theirs: float) -> tuple[str, str, str]:
    return f"{ours:.1f} s", f"{theirs:.1f} s", f"{ours / theirs:.1f}"


def main() -> None:
    """Measure and report."""
    chosen = options("moving a data folder", rounds=1)
    columns = ("step", "of", "bloomery migrate", "COPY, PUT", "ratio")
    note = f"Files of {FILE_BYTES // 1000} kB. COPY takes rows out of one database into another of the same server."
    tables = [Table("a data folder into a cluster", columns, rows_of(one), note) for one in measure(chosen)]
    report("migrate", tables, chosen)


if __name__ == "__main__":
    main()
