"""One large import that several replicas read: what it makes is what one replica makes."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import (
    FORMAT_IMAGES,
    FORMAT_YOLO,
    Import,
    Project,
)
from bloomery_annotation.importer import parsing, runner
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.model import ImportState
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import import_parts, imports, projects
from bloomery_annotation.store.imports import Waiting
from bloomery_annotation.store.tables import IMPORTS, LEASES
from bloomery_kit.database import Database, Transaction
from bloomery_kit.leases import LeaseLost
from bloomery_kit.times import utc_now
from real_parts.minio import MinioServer
from tests.annotation.helpers import bucket_store, png, serving
from tests.annotation.sharing import (
    COUNT,
    PARTS,
    Readers,
    begin,
    check,
    claimed,
    contents,
    finish,
    folder,
    leases_of,
    let_run_out,
    renamed,
    without,
)
from tests.passes import Work, fail_first, turns


async def test_replicas_that_share_an_import_make_what_one_makes(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any]
) -> None:
    async with serving(replicated) as first, serving(replicated) as second:
        done = await finish(second, await begin(first))
        await check(first, done, wanted)
    taken = sorted(number for numbers in readers.parts.values() for number in numbers)
    assert taken == [*range(9)]
    assert len(readers.parts) == 2


async def test_nothing_is_kept_of_who_read_parts_that_are_saved(
    replicated: AnnotationSettings, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, advance = list[str](), imports.advance

    async def look(tx: Transaction, *given: Any, **more: Any) -> None:
        if more.get("state", ImportState.RUNNING).terminal:
            left.extend(await tx.scalars(sa.select(LEASES.c.name).where(LEASES.c.name.like(PARTS))))
        await advance(tx, *given, **more)

    monkeypatch.setattr(imports, "advance", look)
    async with serving(replicated) as first, serving(replicated) as second:
        await finish(second, await begin(first))
    assert sum(map(len, readers.parts.values())) == 9
    # Whoever has saved a part forgets it right afterwards.
    assert len(left) <= 1


async def test_a_replica_that_waits_for_its_turn_writes_nothing(
    replicated: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        claim = await claimed(server, await begin(server), "leader")
        mine, others = (Turns(server.app._db, claim, range(COUNT), size=5, term=30) for _ in range(2))
        assert await others.take(ahead=False) == range(5)
        assert await mine.take(ahead=True) == range(5, 10)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "write", None)
            assert await mine.take(ahead=False) is None
        await others.leave()
        assert await mine.take(ahead=False) == range(5)


async def test_a_part_that_is_taken_while_its_project_goes_is_forgotten_too(replicated: AnnotationSettings) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        started = await begin(server)
        claim, db = await claimed(server, started, "leader"), server.app._db

        async def forget() -> None:
            async with db.write() as tx:
                project = await projects.lock(tx, "p")
                await imports.forget_leases(tx, project.uid)

        async with db.write() as tx:
            assert await import_parts.take(tx, claim, 0, "mine", 30)
            forgetting = asyncio.create_task(forget())
            await asyncio.sleep(0.3)
            assert not forgetting.done()
        await forgetting
        assert await leases_of(server, started) == []


async def test_heavy_parts_are_saved_in_several_batches(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "_MOST_AT_ONCE", 40)
    async with serving(replicated) as first, serving(replicated) as second:
        done = await finish(second, await begin(first))
        found = renamed(await contents(first, done), done.name)
    # Sequences tell how much was saved at once.
    assert without(found, {"sequence"}) == without(wanted, {"sequence"})
    assert len(readers.parts) == 2


@pytest.mark.parametrize("place", ["{0}.png", "train/kind {1}/{0}.png"])
async def test_folders_without_label_files_are_shared_where_no_format_is_named(
    replicated: AnnotationSettings, readers: Readers, place: str
) -> None:
    files = {place.format(number, number % 3): png(number) for number in range(COUNT)}
    async with asyncio.timeout(30), serving(replicated) as first, serving(replicated):
        done = await first.run_import(await first.project(), files)
    assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, COUNT)
    assert len(readers.parts) == 2


async def test_whoever_saves_a_part_tells_which_shapes_no_label_file_names_any_more(
    replicated: AnnotationSettings, readers: Readers
) -> None:
    images = {name: content for name, content in folder().items() if name.endswith(".png")}
    async with asyncio.timeout(30), serving(replicated) as first:
        readers.are_several.set()
        await finish(first, await begin(first))
        readers.are_several.clear()
        readers.parts.clear()
        async with serving(replicated):
            again = await first.run_import(Project(name="projects/p"), images, format=FORMAT_YOLO)
    assert len(readers.parts) == 2
    # Of 37 images one has no label file, and one a broken file.
    assert dict(again.problem_counts) == {"STALE_SHAPES": 35}


@pytest.mark.real_server("minio")
async def test_three_replicas_share_an_import_over_an_object_store(
    replicated: AnnotationSettings, minio: MinioServer, bucket: str, readers: Readers, wanted: dict[str, Any]
) -> None:
    settings = replicated.model_copy(update={"object_store": bucket_store(minio, bucket)})
    async with serving(settings) as first, serving(settings) as second, serving(settings):
        await check(second, await finish(second, await begin(first)), wanted)
    assert len(readers.parts) >= 2


async def test_a_replica_that_understands_a_folder_otherwise_does_not_help(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    told = "the replica that runs an import reads it otherwise"
    caplog.set_level("INFO")
    async with asyncio.timeout(30), serving(replicated) as first:
        started = await begin(first)
        await readers.is_led.wait()
        async with first.app._db.write() as tx:
            await tx.execute(sa.update(IMPORTS).values(fingerprint="another"))
        async with serving(replicated):
            while told not in caplog.messages:  # noqa: ASYNC110 - logging tells nobody
                await asyncio.sleep(0.02)
            readers.are_several.set()
            await check(first, await finish(first, started), wanted)
    assert len(readers.parts) == 1


async def test_a_small_import_is_not_shared(replicated: AnnotationSettings, readers: Readers) -> None:
    async with serving(replicated) as server:
        files = {f"{number}.png": png(number) for number in range(19)}
        done = await server.run_import(await server.project(), files, format=FORMAT_IMAGES)
    assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, 19)
    assert not readers.parts


async def test_trouble_with_one_import_keeps_no_other_from_being_helped(
    replicated: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        for name in ("p", "q"):
            await claimed(server, await server.start_import(await server.project(name), folder()), "other", name)
        work = Work(runner, "help_import", lambda _tools, claim, _term: claim.project_id)
        done = fail_first(monkeypatch, work)
        await turns(server.app.loops, runner.HELP)
    assert done == {"q"}


async def test_an_import_that_an_older_replica_took_over_is_not_shared(replicated: AnnotationSettings) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        started = await begin(server)
        db = server.app._db
        waiting = Waiting("p", started.uid)
        claim = await claimed(server, started, "new")
        async with db.write() as tx:
            assert await import_parts.shared(tx, without="mine", least=COUNT) == [claim]
            assert await import_parts.shared(tx, without="new", least=1) == []
            assert await import_parts.shared(tx, without="mine", least=COUNT + 1) == []
            assert await import_parts.take(tx, claim, 3, "mine", 30)
        await let_run_out(server, "imports/%")
        async with db.write() as tx:
            successor = await imports.claim(tx, waiting, utc_now(), holder="old", term=30)
            assert successor
            assert await import_parts.shared(tx, without="mine", least=1) == []
        async with db.write() as tx:
            with pytest.raises(LeaseLost):
                await import_parts.progress(tx, claim)
            with pytest.raises(LeaseLost):
                await import_parts.take(tx, claim, 0, "mine", 30)
        async with db.write() as tx:
            await import_parts.share(tx, successor)
        assert await leases_of(server, started) == [successor.lease.name]
