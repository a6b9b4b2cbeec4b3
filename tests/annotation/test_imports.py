"""Imports: broken files, other people's edits, restarts, replicas and cancelling."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import (
    FORMAT_COCO,
    FORMAT_YOLO,
    Asset,
    BatchCreateAssetsRequest,
    CancelImportRequest,
    CreateImportRequest,
    GetAnnotationSetRequest,
    GetImportRequest,
    Import,
    ImportFile,
    ListAssetsRequest,
    ListImportsRequest,
    ListLabelsRequest,
    Project,
    WatchImportRequest,
)
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.parsing import Parser
from bloomery_annotation.model import ImportCounts
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import imports as import_store
from bloomery_annotation.store import revisions
from bloomery_annotation.store.tables import IMPORTS, REVISIONS
from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from bloomery_kit.times import utc_now
from tests.annotation.helpers import Server, box, digest_of, fields_of, png, reason_of, serving, status_of


def voc(name: str, *boxes: tuple[str, float, float, float, float], size: tuple[int, int] = (64, 48)) -> bytes:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, x1, y1, x2, y2 in boxes
    )
    width, height = size
    head = f"<filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{head}{objects}</annotation>".encode()


def voc_folder(count: int) -> dict[str, bytes]:
    """A folder of images with one box each."""
    files = {f"images/{number:03}.png": png(number) for number in range(count)}
    files |= {f"xml/{number:03}.xml": voc(f"{number:03}.png", ("cell", 1, 1, 10, 10)) for number in range(count)}
    return files


def codes(done: Import) -> dict[str, str]:
    return {problem.item: problem.code for problem in done.problems}


def counts(done: Import) -> tuple[int, ...]:
    return done.asset_count, done.annotated_count, done.unchanged_count, done.failed_count


async def test_of_a_broken_voc_folder_the_good_items_land(server: Server, project: Project) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY e "e">]><annotation><filename>x.png</filename></annotation>'
    done = await server.run_import(
        project,
        {
            "good.png": png(1), "good.xml": voc("good.png", ("cell", 1, 1, 10, 10)),
            "nobody.xml": voc("nobody.png", ("cell", 1, 1, 10, 10)),
            "half.png": png(2)[:60], "half.xml": voc("half.png", ("cell", 1, 1, 10, 10)),
            "bomb.png": png(3), "bomb.xml": bomb,
            "torn.png": png(4), "torn.xml": b"<annotation><object>",
            "odd.png": png(5),
            "odd.xml": voc("odd.png", ("cell", "nan", 1, 5, 5), ("cell", 9, 9, 3, 3), ("cell", 70, 1, 90, 9)),  # type: ignore[arg-type]
            "alone.png": png(6),
            ".hidden/x.png": png(7),
        },
    )  # fmt: skip
    assert done.state == Import.STATE_SUCCEEDED
    assert codes(done)["nobody.png"] == "MISSING_IMAGE"
    assert codes(done)["half.png"] in ("TRUNCATED", "NOT_AN_IMAGE")
    assert codes(done)["bomb.png"] == "XML_ENTITIES"
    assert codes(done)["torn.png"] == "BROKEN_FILE"
    assert {problem.code for problem in done.problems if problem.item == "odd.png"} == {
        "NOT_FINITE", "ZERO_AREA", "OUTSIDE_IMAGE",
    }  # fmt: skip
    assert all(problem.hint for problem in done.problems)
    assert counts(done) == (3, 1, 0, 4)
    names = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="annotated"))
    assert [asset.display_name for asset in names.assets] == ["good.png"], "what lost all its shapes is not empty"


async def test_of_a_broken_coco_file_the_good_items_land(server: Server, project: Project) -> None:
    def shape(identity: int, image: int, category: int, *bbox: float) -> dict[str, object]:
        return {"id": identity, "image_id": image, "category_id": category, "bbox": bbox}

    file = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (1, 2, 3)],
        "annotations": [
            shape(1, 1, 7, 1, 1, 5, 5),
            shape(2, 1, 99, 1, 1, 5, 5),
            shape(3, 2, 7, 1, 1, 0, 0),
            shape(4, 77, 7, 1, 1, 5, 5),
        ],
        "categories": [{"id": 7, "name": "cell"}, {"id": 8, "name": "dust"}],
    }  # fmt: skip
    files = {"1.png": png(1), "2.png": png(2), "instances.json": json.dumps(file).encode()}
    done = await server.run_import(project, files)
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_COCO)
    assert counts(done) == (2, 1, 0, 2)
    assert {"UNKNOWN_CLASS" in code or "CATEGORY" in code for code in codes(done).values()} == {True, False}
    assert codes(done)["3.png"] == "MISSING_IMAGE"
    broken = await server.run_import(
        project, {"1.png": png(1), "i.json": b'{"images": [], "annotations": [{'}, format=2
    )
    assert broken.state in (Import.STATE_SUCCEEDED, Import.STATE_FAILED)
    assert broken.problem_count or broken.error.message


async def test_texts_that_no_database_takes_are_mended(both: Server) -> None:
    project = await both.project()
    file = (
        '{"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "\\u0000\\ud800.png"}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5]}], '
        '"categories": [{"id": 7, "name": "cell\\u0000\\ud800"}]}'
    )
    done = await both.run_import(project, {"1.png": png(1), "instances.json": file.encode()})
    assert (done.state, counts(done)) == (Import.STATE_SUCCEEDED, (1, 1, 0, 1))
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert [label.display_name for label in listed.labels] == ["cell??"]


async def test_of_a_broken_yolo_folder_the_good_items_land(server: Server, project: Project) -> None:
    done = await server.run_import(
        project,
        {
            "data.yaml": b"names: [cell, dust]",
            "images/train/a.png": png(1), "labels/train/a.txt": b"0 0.5 0.5 0.2 0.2\n9 0.5 0.5 0.2 0.2\nrubbish\n",
            "images/val/b.png": png(2), "labels/val/b.txt": b"",
            "labels/val/orphan.txt": b"0 0.5 0.5 0.1 0.1",
        },
    )  # fmt: skip
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_YOLO)
    assert counts(done) == (2, 2, 0, 1)
    assert done.shape_count == 1
    listed = await server.stub.ListAssets(ListAssetsRequest(parent=project.name))
    assert {asset.display_name: asset.split for asset in listed.assets} == {
        "images/train/a.png": "train", "images/val/b.png": "val",
    }  # fmt: skip


async def test_files_in_no_known_format_fail_with_the_reason(server: Server, project: Project) -> None:
    done = await server.run_import(project, {"a.png": png(1), "notes.txt": b"hello"})
    assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "UNKNOWN_FORMAT")
    assert "VOC" in done.error.message


async def test_what_people_and_models_made_is_left_alone(both: Server) -> None:
    project = await both.project()
    files = voc_folder(3)
    await both.label("mine")
    asset = (await both.assets(project, [files["images/001.png"]]))[0]
    mine = await both.save(asset, [box("mine")])
    done = await both.run_import(project, files)
    assert counts(done) == (2, 2, 1, 0)
    assert await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=mine.name)) == mine
    # An import's own shapes are replaced by those of a later one.
    files["xml/002.xml"] = voc("002.png", ("cell", 5, 5, 20, 20), ("dust", 5, 5, 9, 9))
    later = await both.run_import(project, files)
    assert counts(later) == (0, 1, 2, 0)
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert {one.display_name: one.shape_count for one in listed.labels} == {"mine": 1, "cell": 2, "dust": 1}


async def test_a_start_is_checked_at_once_and_happens_once(both: Server) -> None:
    project = await both.project()
    digest = digest_of(png(1))

    def request(*files: tuple[str, str], **fields: Any) -> CreateImportRequest:
        wanted = Import(files=[ImportFile(path=path, digest=digest) for path, digest in files])
        return CreateImportRequest(parent=project.name, **{"import": wanted}, **fields)  # type: ignore[arg-type]

    missing = await status_of(both.stub.CreateImport(request(("a.png", digest))))
    assert reason_of(missing) == "BLOB_MISSING"
    assert digest in missing.message
    bad = request(("../a.png", digest), ("/a.png", "x"), ("a.png", digest), ("a.png", digest_of(b"")))
    assert fields_of(await status_of(both.stub.CreateImport(bad))) == [
        "import.files[0].path", "import.files[1].path", "import.files[1].digest", "import.files[3].path",
    ]  # fmt: skip
    assert fields_of(await status_of(both.stub.CreateImport(request()))) == ["import.files"]
    await both.upload([png(1)], project)
    good = request(("a.png", digest), import_id="first", request_id="r")
    started = await both.stub.CreateImport(good)
    assert await both.stub.CreateImport(good) == started
    taken = await status_of(both.stub.CreateImport(request(("a.png", digest), import_id="first")))
    assert reason_of(taken) == "ALREADY_EXISTS"
    second = await both.stub.CreateImport(request(("a.png", digest)))
    page = await both.stub.ListImports(ListImportsRequest(parent=project.name, page_size=1))
    rest = await both.stub.ListImports(
        ListImportsRequest(parent=project.name, page_size=1, page_token=page.next_page_token)
    )
    assert [one.name for one in (*page.imports, *rest.imports)] == [second.name, "projects/p/imports/first"]
    await both.finish(second.name)


async def test_a_watch_shows_progress_and_resumes(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "BATCH", 2)
    started = await server.start_import(project, voc_folder(20))
    states = [state async for state in server.stub.WatchImport(WatchImportRequest(name=started.name))]
    sequences = [state.sequence for state in states]
    assert sequences == sorted(set(sequences))
    assert states[-1].state == Import.STATE_SUCCEEDED
    done = [state.done_count for state in states]
    assert done == sorted(done)
    request = WatchImportRequest(name=started.name, after_sequence=sequences[-1] - 1)
    assert [state async for state in server.stub.WatchImport(request)] == states[-1:]
    request.after_sequence += 1
    assert [state async for state in server.stub.WatchImport(request)] == []


class Halt:
    """Lets calls of a function through, then holds the caller for ever."""

    def __init__(self, real: Callable[..., Any], calls: int) -> None:
        self.real, self.left = real, calls
        self.reached = asyncio.Event()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left == 0:
            self.reached.set()
            await asyncio.Event().wait()
        self.left -= 1
        return await self.real(*args, **kwargs)


async def die(server: Server) -> None:
    """End a replica's runner as a killed process would: without a word to anybody."""
    runner = server.app._runner

    async def say_nothing(claim: object) -> None:
        return None

    runner._release = say_nothing  # type: ignore[method-assign]
    await runner.close()


async def stored(settings: AnnotationSettings) -> tuple[int, list[int]]:
    """How many revisions there are, and the epochs of all imports."""
    db = Database.connect(settings.database_url, "annotation")
    async with db.read() as tx:
        count = await tx.scalar(sa.select(sa.func.count()).select_from(REVISIONS))
        epochs: list[int] = list((await tx.execute(sa.select(IMPORTS.c.epoch))).scalars())
    await db.close()
    return int(count or 0), epochs


CRASHES = [
    ("imports", "advance", 0),
    ("imports", "advance", 3),
    ("assets", "ensure", 1),
    ("revisions", "save", 2),
    ("labelling", "ensure", 0),
]
"""Inside which function the process dies, and after how many calls of it that went well."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(import_run, "BATCH", 5)
    return iter(())


@pytest.mark.parametrize(("module", "name", "calls"), CRASHES)
async def test_after_a_crash_another_replica_goes_on_and_nothing_doubles(
    both_settings: AnnotationSettings,
    small_batches: None,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    calls: int,
) -> None:
    owner = getattr(import_run, module)
    halt = Halt(getattr(owner, name), calls)
    async with serving(both_settings) as first:
        project = await first.project()
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, halt)
            started = await first.start_import(project, voc_folder(23))
            async with asyncio.timeout(20):
                await halt.reached.wait()
            await die(first)
        async with serving(both_settings) as second:
            done = await second.finish(started.name)
    assert done.state == Import.STATE_SUCCEEDED
    assert (done.item_count, done.done_count, *counts(done)) == (23, 23, 23, 23, 0, 0)
    assert await stored(both_settings) == (23, [2])


async def test_a_replica_that_leaves_hands_its_import_over_at_once(
    both_settings: AnnotationSettings, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = both_settings.model_copy(update={"import_lease_seconds": 3600})
    halt = Halt(revisions.save, 1)
    async with serving(slow) as first:
        project = await first.project()
        with monkeypatch.context() as patched:
            patched.setattr(revisions, "save", halt)
            started = await first.start_import(project, voc_folder(12))
            await halt.reached.wait()
            await first.app._runner.close()
        async with serving(slow) as second, asyncio.timeout(20):
            done = await second.finish(started.name)
    assert counts(done) == (12, 12, 0, 0)


async def test_two_replicas_run_each_import_once(both_settings: AnnotationSettings, small_batches: None) -> None:
    patient = both_settings.model_copy(update={"import_lease_seconds": 30})
    async with serving(patient) as first, serving(patient) as second:
        project = await first.project()
        files = voc_folder(40)
        names = list(files)
        parts = [{name: files[name] for name in names if int(name[-7:-4]) % 4 == part} for part in range(4)]
        started = [await (first, second)[number % 2].start_import(project, part) for number, part in enumerate(parts)]
        done = await asyncio.gather(*(second.finish(one.name) for one in started))
    assert [counts(one) for one in done] == [(10, 10, 0, 0)] * 4
    assert await stored(both_settings) == (40, [1, 1, 1, 1])


async def test_whoever_lost_a_claim_can_write_nothing(both: Server, both_settings: AnnotationSettings) -> None:
    await die(both)
    project = await both.project()
    await both.start_import(project, voc_folder(1))
    db = Database.connect(both_settings.database_url, "annotation")
    async with db.write() as tx:
        seen = (await import_store.active(tx))[0]
        old = await import_store.claim(tx, seen, utc_now())
        assert old is not None
        assert await import_store.claim(tx, seen, utc_now()) is None
        new = await import_store.claim(tx, (await import_store.active(tx))[0], utc_now())
        assert new is not None
        assert not await import_store.beat(tx, old)
        progress = ImportCounts(done_count=1)
        assert not await import_store.advance(tx, old, progress, utc_now())
        assert await import_store.advance(tx, new, progress, utc_now())
    await db.close()


async def test_an_import_that_nobody_runs_yet_is_cancelled_at_once(both: Server) -> None:
    await die(both)
    project = await both.project()
    started = await both.start_import(project, voc_folder(1))
    request = CancelImportRequest(name=started.name)
    cancelled = await both.stub.CancelImport(request)
    assert cancelled.state == Import.STATE_CANCELLED
    assert await both.stub.CancelImport(request) == cancelled


async def test_a_running_import_stops_on_request_and_keeps_what_it_saved(
    both: Server, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    reached, go_on = asyncio.Event(), asyncio.Event()
    real = Parser.take

    async def take(parser: Any, count: int) -> Any:
        items = await real(parser, count)
        if reached.is_set():
            await go_on.wait()
        reached.set()
        return items

    monkeypatch.setattr(Parser, "take", take)
    started = await both.start_import(project, voc_folder(20))
    await reached.wait()
    asked = await both.stub.CancelImport(CancelImportRequest(name=started.name))
    assert asked.state in (Import.STATE_RUNNING, Import.STATE_CANCELLED)
    go_on.set()
    done = await both.finish(started.name)
    assert done.state == Import.STATE_CANCELLED
    assert done.annotated_count <= 5
    assert await both.stub.CancelImport(CancelImportRequest(name=started.name)) == done
    listed = await both.stub.ListAssets(ListAssetsRequest(parent=project.name))
    assert listed.total_size == done.asset_count


async def test_an_import_waits_while_the_object_store_is_down(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._PAUSE", 0.05)
    failures = [Unavailable("OBJECT_STORE_UNAVAILABLE", "down")] * 3
    store = server.app._runner._tools.objects
    real = store.get

    async def get(key: str) -> bytes:
        if failures:
            raise failures.pop()
        return await real(key)

    started = await _started_with(server, project, lambda: monkeypatch.setattr(store, "get", get))
    done = await server.finish(started.name)
    assert not failures
    assert counts(done) == (3, 3, 0, 0)


async def _started_with(server: Server, project: Project, break_it: Callable[[], None]) -> Import:
    files = voc_folder(3)
    digests = await server.upload(list(files.values()), project)
    break_it()
    listed = [ImportFile(path=path, digest=digest) for path, digest in zip(files, digests, strict=True)]
    request = CreateImportRequest(parent=project.name, **{"import": Import(files=listed)})  # type: ignore[arg-type]
    started: Import = await server.stub.CreateImport(request)
    return started


async def test_a_fault_of_ours_ends_the_import_with_a_reason(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(revisions, "save", broken)
    done = await server.run_import(project, voc_folder(2))
    assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "INTERNAL")
    assert "ZeroDivision" not in done.error.message


async def test_an_import_of_a_deleted_project_ends_quietly(
    both: Server, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bloomery.annotation.v1 import DeleteProjectRequest

    project = await both.project()
    reached, go_on = asyncio.Event(), asyncio.Event()
    real = Parser.take

    async def take(parser: Any, count: int) -> Any:
        reached.set()
        await go_on.wait()
        return await real(parser, count)

    monkeypatch.setattr(Parser, "take", take)
    started = await both.start_import(project, voc_folder(2))
    await reached.wait()
    await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
    again = await both.project()
    go_on.set()
    gone = await status_of(both.stub.GetImport(GetImportRequest(name=started.name)))
    assert reason_of(gone) == "NOT_FOUND"
    await both.upload([png(1)], again)
    request = BatchCreateAssetsRequest(parent=again.name, assets=[Asset(digest=digest_of(png(1)))])
    assert (await both.stub.BatchCreateAssets(request)).results[0].status.code == 0
    assert (await both.stub.ListAssets(ListAssetsRequest(parent=again.name))).total_size == 1


async def test_too_many_problems_are_counted_but_not_all_kept(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_store, "MAX_PROBLEMS", 7)
    monkeypatch.setattr(import_run, "BATCH", 4)
    files = {f"{number}.xml": voc(f"{number}.png", ("cell", 1, 1, 5, 5)) for number in range(10)}
    done = await server.run_import(project, files | {"one.png": png(1)})
    assert (done.problem_count, len(done.problems), done.failed_count) == (10, 7, 10)
