"""Imports that are hit: an absent object store, faults of ours, cancelling and deletion while they run."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import (
    FORMAT_IMAGES,
    Asset,
    BatchCreateAssetsRequest,
    CancelImportRequest,
    CreateImportRequest,
    DeleteLabelRequest,
    DeleteProjectRequest,
    GetImportRequest,
    Import,
    ImportFile,
    ListAssetsRequest,
    ListLabelsRequest,
    Project,
)
from bloomery_annotation.importer import outcome
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.parsing import Parser
from bloomery_annotation.model import ImportState
from bloomery_annotation.store import assets, projects, revisions
from bloomery_annotation.store import imports as import_store
from bloomery_annotation.store.imports import Waiting
from bloomery_annotation.store.tables import IMPORTS
from bloomery_kit.errors import Unavailable
from bloomery_kit.objects import FolderObjectStore
from bloomery_kit.times import utc_now
from bloomery_vision.formats import Format, Plan
from tests.annotation.folders import counted, counts, ended, voc, voc_folder
from tests.annotation.helpers import Server, digest_of, png, reason_of, status_of


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(import_run, "BATCH", 5)
    return iter(())


async def test_an_import_that_nobody_runs_yet_is_cancelled_at_once(both: Server) -> None:
    await both.app.loops.close()
    project = await both.project()
    started = await both.start_import(project, voc_folder(1))
    request = CancelImportRequest(name=started.name)
    before = ended("cancelled")
    cancelled = await both.stub.CancelImport(request)
    assert cancelled.state == Import.STATE_CANCELLED
    assert await both.stub.CancelImport(request) == cancelled
    assert ended("cancelled") == before + 1


async def test_a_running_import_stops_on_request_and_keeps_what_it_saved(
    both: Server, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    reached, go_on = asyncio.Event(), asyncio.Event()
    real = Parser.take

    async def take(parser: Any, place: int, count: int) -> Any:
        items = await real(parser, place, count)
        if reached.is_set():
            await go_on.wait()
        reached.set()
        return items

    monkeypatch.setattr(Parser, "take", take)
    started = await both.start_import(project, voc_folder(20))
    await reached.wait()
    before = ended("cancelled")
    asked = await both.stub.CancelImport(CancelImportRequest(name=started.name))
    assert asked.state in (Import.STATE_RUNNING, Import.STATE_CANCELLED)
    go_on.set()
    done = await both.finish(started.name)
    assert done.state == Import.STATE_CANCELLED
    await counted("cancelled", before + 1)
    assert done.annotated_count <= 5
    assert await both.stub.CancelImport(CancelImportRequest(name=started.name)) == done
    listed = await both.stub.ListAssets(ListAssetsRequest(parent=project.name))
    assert listed.total_size == done.asset_count


async def test_an_import_waits_while_the_object_store_is_down(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.05)
    failures = [Unavailable("OBJECT_STORE_UNAVAILABLE", "down")] * 3
    monkeypatch.setattr("bloomery_annotation.contents.IN_DATABASE", -1)
    real = FolderObjectStore.get_all

    async def get_all(store: FolderObjectStore, keys: Collection[str]) -> Mapping[str, bytes]:
        if failures:
            raise failures.pop()
        return await real(store, keys)

    started = await _started_with(server, project, lambda: monkeypatch.setattr(FolderObjectStore, "get_all", get_all))
    done = await server.finish(started.name)
    assert not failures
    assert counts(done) == (3, 3, 0, 0)


async def test_an_import_that_begins_again_understands_its_folder_as_before(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.05)
    monkeypatch.setattr(import_run, "BATCH", 1)
    real, outcomes = assets.ensure, [None, Unavailable("DATABASE_UNAVAILABLE", "away"), None, None]

    async def ensure(*given: Any) -> Any:
        if problem := outcomes.pop(0):
            raise problem
        return await real(*given)

    monkeypatch.setattr(assets, "ensure", ensure)
    config = b"path: .\ntrain: photos/a\nval: photos/b\nnames: [cat, dog]\n"
    photos = {"photos/a/1.png": png(1), "photos/b/2.png": png(2), "photos/b/3.png": png(3)}
    done = await both.run_import(await both.project(), {"data.yaml": config} | photos)
    listed = await both.stub.ListAssets(ListAssetsRequest(parent="projects/p"))
    assert (outcomes, done.format) == ([], FORMAT_IMAGES)
    assert sorted(one.split for one in listed.assets) == ["train", "val", "val"]


async def test_an_import_that_goes_on_in_a_version_that_reads_otherwise_misses_no_image(
    both: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.05)
    monkeypatch.setattr(import_run, "BATCH", 1)
    plan, save, planned, saved = Parser.plan, assets.ensure, list[Plan](), list[str]()

    async def leave_the_first_out_once(parser: Parser) -> Plan:
        planned.append(await plan(parser))
        return planned[0] if len(planned) > 1 else replace(planned[0], images=list(planned[0].images)[1:])

    async def fail_once(tx: Any, project: Any, pairs: Any, now: Any, most: Any) -> Any:
        saved.extend(draft.display_name for draft, _ in pairs)
        if len(saved) == 2:
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        return await save(tx, project, pairs, now, most)

    monkeypatch.setattr(Parser, "plan", leave_the_first_out_once)
    monkeypatch.setattr(assets, "ensure", fail_once)
    files = voc_folder(4)
    broken = next(name for name in sorted(files) if name.endswith(".xml") and not name.endswith("0.xml"))
    done = await both.run_import(await both.project(), files | {broken: b"<annotation>"})
    assert len(planned) == 2
    # The broken one is no new image; the one that was saved before is there already.
    assert counts(done) == (3, 2, 1, 1)
    assert (done.done_count, done.plan.image_count) == (4, 4)
    assert dict(done.problem_counts) == {"BROKEN_FILE": 1}
    assert [problem.code for problem in done.problems] == ["BROKEN_FILE"]


async def test_what_was_asked_for_is_kept_where_an_older_replica_made_the_import(both: Server) -> None:
    await both.app.loops.close()
    started = await both.start_import(await both.project(), {"1.png": png()})
    async with both.app._db.write() as tx:
        await tx.execute(sa.update(IMPORTS).values(asked_format=None))
        claim = await import_store.claim(tx, Waiting("p", started.uid), utc_now(), holder="new", term=30)
        assert claim
        its_project = await projects.lock(tx, "p")
        await import_store.begin(tx, await import_store.held(tx, its_project, claim), "{}", Format.IMAGES, "read so")
        current = await import_store.held(tx, its_project, claim)
    assert (current.asked, current.format) == (None, Format.IMAGES)


async def test_a_doubt_stops_a_strict_import_that_begins_again(both: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.05)
    real, outcomes = outcome.refuse_doubts, [Unavailable("DATABASE_UNAVAILABLE", "away"), None]

    def refuse(*given: Any, **named: Any) -> None:
        if problem := outcomes.pop(0):
            raise problem
        real(*given, **named)

    monkeypatch.setattr(import_run, "refuse_doubts", refuse)
    done = await both.run_import(
        await both.project(), {"train/cat/1.png": png(1), "train/dog/2.png": png(2)}, strict=True
    )
    assert (done.state, outcomes) == (Import.STATE_FAILED, [])


@pytest.mark.parametrize("breaks", [False, True])
async def test_an_import_that_is_done_ends_when_the_database_is_back(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    planned, refused, plan, advance = 0, 0, Parser.plan, import_store.advance

    async def count(parser: Parser) -> Plan:
        nonlocal planned
        planned += 1
        if breaks:
            raise ZeroDivisionError
        return await plan(parser)

    async def away(*given: Any, **more: Any) -> None:
        nonlocal refused
        if more.get("state", ImportState.RUNNING).terminal and refused < 2:
            refused += 1
            raise Unavailable("DATABASE_UNAVAILABLE", "away")
        await advance(*given, **more)

    monkeypatch.setattr(Parser, "plan", count)
    monkeypatch.setattr(import_store, "advance", away)
    state = ImportState.FAILED if breaks else ImportState.SUCCEEDED
    before = ended(state.value)
    done = await server.run_import(project, voc_folder(3))
    assert done.state == (Import.STATE_FAILED if breaks else Import.STATE_SUCCEEDED)
    await counted(state.value, before + 1)
    assert (planned, refused) == (1, 2)


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


async def test_a_label_that_is_deleted_before_the_first_image_is_made_again(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.label("cell")
    real = Parser.start

    async def start(*args: Any, **more: Any) -> None:
        await server.stub.DeleteLabel(DeleteLabelRequest(name="projects/p/labels/cell"))
        await real(*args, **more)

    monkeypatch.setattr(Parser, "start", start)
    done = await server.run_import(project, voc_folder(2))
    assert (done.state, counts(done)) == (Import.STATE_SUCCEEDED, (2, 2, 0, 0))


async def test_a_label_that_is_deleted_before_others_are_made_is_made_again(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "listed", lambda _plan: [])
    await server.label("old")
    real, there = Parser.take, ["projects/p/labels/old"]

    async def take(*args: Any) -> Any:
        if there:
            await server.stub.DeleteLabel(DeleteLabelRequest(name=there.pop()))
        return await real(*args)

    monkeypatch.setattr(Parser, "take", take)
    files = {"a.png": png(1), "a.xml": voc("a.png", ("old", 1, 1, 9, 9), ("new", 2, 2, 9, 9))}
    done = await server.run_import(project, files)
    assert (done.state, counts(done)) == (Import.STATE_SUCCEEDED, (1, 1, 0, 0))
    listed = await server.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert {label.display_name for label in listed.labels} == {"old", "new"}


async def test_an_import_that_lost_its_place_begins_there_again(
    server: Server, project: Project, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.05)
    real, lost = import_run._Run._read, [1]

    async def read(run: Any, places: range) -> Any:
        return await real(run, range(places.start + (lost.pop() if lost else 0), places.stop))

    monkeypatch.setattr(import_run._Run, "_read", read)
    done = await server.run_import(project, voc_folder(7))
    assert (done.state, counts(done)) == (Import.STATE_SUCCEEDED, (7, 7, 0, 0))


async def test_an_import_of_a_deleted_project_ends_quietly(
    both: Server, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = await both.project()
    reached, go_on = asyncio.Event(), asyncio.Event()
    real = Parser.take

    async def take(parser: Any, place: int, count: int) -> Any:
        reached.set()
        await go_on.wait()
        return await real(parser, place, count)

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
