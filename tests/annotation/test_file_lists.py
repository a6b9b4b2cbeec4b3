"""Imports of large folders: an uploaded list instead of names in the request, and files that are read ahead."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bloomery.annotation.v1 import CreateImportRequest, Import, ImportFile, ListAssetsRequest, Project
from bloomery_annotation.contents import Contents
from bloomery_annotation.importer import listing
from bloomery_annotation.importer import source as import_source
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.source import BlobSource, StoppedError
from bloomery_annotation.model import Blob
from tests.annotation.folders import counts, voc_folder
from tests.annotation.helpers import Server, digest_of, fields_of, png, reason_of, status_of


def line(path: str, content: bytes) -> bytes:
    return json.dumps({"path": path, "digest": digest_of(content), "size": len(content)}).encode()


async def start(server: Server, project: Project, listed: bytes) -> Import:
    """Begin an import of an uploaded list."""
    (digest,) = await server.upload([listed], project)
    request = CreateImportRequest(parent=project.name, **{"import": Import(file_list=digest)})  # type: ignore[arg-type]
    started: Import = await server.stub.CreateImport(request)
    return started


async def run(server: Server, project: Project, *lines: bytes) -> Import:
    return await server.finish((await start(server, project, b"\n".join(lines))).name)


async def test_a_list_imports_what_names_in_the_request_do(both: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_AT_ONCE", 7)
    project = await both.project()
    files = voc_folder(12) | {".hidden/x.png": png(99), "äöü/bild 1.png": png(50), "same.png": png(1)}
    await both.upload(list(files.values()), project)
    lines = [line(path, content) for path, content in reversed(files.items())]
    done = await run(both, project, *lines, b"", lines[0])
    assert (done.state, done.file_list, *counts(done)) == (Import.STATE_SUCCEEDED, "", 13, 12, 0, 0)
    assert counts(await both.run_import(project, files)) == (0, 0, 12, 0)
    listed = await both.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="name:bild"))
    assert [asset.display_name for asset in listed.assets] == ["äöü/bild 1.png"]


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        (b"", "it is empty"),
        (b"a.png", "line 1: it is not JSON"),
        (b"\n[]", "line 2: it is no object"),
        (b"\xff\xfe\xfd", "line 1: "),
        (line("../a.png", b"") + b"\n" + line("", b"") + b"\n{}", "line 3: path: "),
        (b'{"path": "a.png", "digest": "md5:1"}', "line 1: digest: "),
        (b'{"path": "\\ud800.png", "digest": "sha256:0"}', "line 1: "),
        (b'{"path": "' + b"x" * 99_999, "line 1: "),
        (b"[" * 9999, "line 1: "),
    ],
)
async def test_a_list_that_cannot_be_used_fails_with_its_lines(
    server: Server, project: Project, listed: bytes, told: str
) -> None:
    done = await run(server, project, listed)
    assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "BAD_FILE_LIST")
    assert told in done.error.message
    assert '{"path": "...", "digest": "sha256:..."}' in done.error.message


async def test_files_of_a_list_that_are_not_uploaded_are_named(server: Server, project: Project) -> None:
    await server.upload([png(1)], project)
    done = await run(server, project, line("a.png", png(1)), line("b.png", png(2)))
    assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "BLOB_MISSING")
    assert f"1 files are not uploaded: b.png ({digest_of(png(2))})" in done.error.message


async def test_a_path_with_two_contents_is_refused(server: Server, project: Project) -> None:
    await server.upload([png(1), png(2)], project)
    done = await run(server, project, line("a.png", png(1)), line("b.png", png(1)), line("a.png", png(2)))
    assert reason_of(done.error) == "BAD_FILE_LIST"
    assert "a.png come twice" in done.error.message


async def test_an_import_needs_either_names_or_a_list(server: Server, project: Project) -> None:
    (digest,) = await server.upload([png(1)], project)
    wanted = Import(files=[ImportFile(path="a.png", digest=digest)], file_list=digest)
    request = CreateImportRequest(parent=project.name, **{"import": wanted})  # type: ignore[arg-type]
    assert fields_of(await status_of(server.stub.CreateImport(request))) == ["import.files"]
    unknown = Import(file_list=digest_of(b"never seen"))
    request = CreateImportRequest(parent=project.name, **{"import": unknown})  # type: ignore[arg-type]
    assert reason_of(await status_of(server.stub.CreateImport(request))) == "BLOB_MISSING"


class Slow(Contents):
    """Contents that take a while; counts how many blobs are asked for at once."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents
        self.waiting, self.most, self.read = 0, 0, list[str]()

    async def get_all(self, project_uid: str, digests: Collection[str]) -> Mapping[str, bytes]:
        self.waiting += len(digests)
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0.005)
        self.waiting -= len(digests)
        self.read += digests
        return {digest: self._contents[digest] for digest in digests}


@asynccontextmanager
async def source_of(folder: Path, contents: Mapping[str, bytes]) -> AsyncIterator[tuple[BlobSource, Slow]]:
    store = Slow({digest_of(content): content for content in contents.values()})
    (folder / "run").mkdir()
    with Files(folder / "run") as files:
        files.add((path, Blob(digest_of(content), len(content))) for path, content in contents.items())
        yield (
            BlobSource(files, contents=store, project_uid="u", folder=folder / "run", loop=asyncio.get_running_loop()),
            store,
        )


NAMES = {f"labels/{number:03}.txt": str(number).encode() for number in range(100)}


async def test_label_files_that_are_read_in_order_are_on_their_way_before(tmp_path: Path) -> None:
    async with source_of(tmp_path, NAMES | {f"images/{n}.png": b"never read" for n in range(9)}) as (source, store):
        read = await asyncio.to_thread(lambda: [source.open(name).read() for name in NAMES])
    assert read == list(NAMES.values())
    assert len(store.read) == 100
    assert 32 <= store.most <= 65


async def test_files_that_are_read_in_no_order_are_read_once_each(tmp_path: Path) -> None:
    names = sorted(NAMES, key=lambda name: name[::-1])
    async with source_of(tmp_path, NAMES) as (source, store):
        read = await asyncio.to_thread(lambda: [source.open(name).read() for name in names])
    assert read == [NAMES[name] for name in names]
    assert len(store.read) == 100


async def test_files_that_are_read_again_are_still_there(tmp_path: Path) -> None:
    async with source_of(tmp_path, NAMES) as (source, store):
        read = await asyncio.to_thread(lambda: [source.open(name).read() for _ in range(3) for name in NAMES])
    assert read == 3 * list(NAMES.values())
    assert len(store.read) == 100


async def test_files_that_a_plan_has_looked_at_are_not_fetched_again(tmp_path: Path) -> None:
    looked_at = list(NAMES)[::3]
    async with source_of(tmp_path, NAMES) as (source, store):
        read = await asyncio.to_thread(lambda: [source.open(name).read() for name in (*looked_at, *NAMES)])
        assert not source._ahead
    assert read == [NAMES[name] for name in looked_at] + list(NAMES.values())
    assert len(store.read) == 100
    assert store.most >= 32, "and the others are on their way before"


async def test_no_more_files_stay_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_source, "_KEPT", 10)
    async with source_of(tmp_path, NAMES) as (source, store):
        read = await asyncio.to_thread(lambda: [source.open(name).read() for _ in range(2) for name in NAMES])
    assert read == 2 * list(NAMES.values())
    assert len(store.read) == 190


async def test_a_file_that_cannot_be_had_is_said_where_it_is_read(tmp_path: Path) -> None:
    async with source_of(tmp_path, NAMES) as (source, store):
        del store._contents[digest_of(b"7")]  # type: ignore[attr-defined]

        def read() -> list[str]:
            found = []
            for name in list(NAMES)[:12]:
                try:
                    found.append(source.open(name).read().decode())
                except KeyError:
                    found.append("gone")
            return found

        assert (await asyncio.to_thread(read))[5:9] == ["5", "6", "gone", "8"]


async def test_a_stopped_source_reads_nothing_more(tmp_path: Path) -> None:
    async with source_of(tmp_path, NAMES) as (source, _):
        opened = threading.Event()

        def read() -> None:
            for name in NAMES:
                source.open(name)
                opened.set()

        reading = asyncio.create_task(asyncio.to_thread(read))
        await asyncio.to_thread(opened.wait)
        source.stop()
        with pytest.raises(StoppedError):
            await reading
