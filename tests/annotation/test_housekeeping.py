"""What is removed later: uploads that nobody completed, and what arrives for projects that are gone."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import DeleteProjectRequest, Project
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.names import blob_key, staging_key, staging_prefix
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import graves
from bloomery_annotation.store.tables import LEASES
from bloomery_kit import leases
from bloomery_kit.database import Database
from bloomery_kit.errors import ResourceExhausted
from bloomery_kit.objects import FolderObjectStore, ObjectStat
from bloomery_kit.times import utc_now
from tests.annotation.helpers import Server, digest_of, png


async def test_abandoned_uploads_are_collected(server: Server, project: Project, settings: AnnotationSettings) -> None:
    key = staging_key(project.uid, digest_of(b"x"))
    await server.objects.put(key, b"x")
    db = Database.connect(settings.database_url)
    await Housekeeper(db, server.objects, url_seconds=60).tidy()
    assert await server.objects.stat(key)
    later = Housekeeper(db, server.objects, url_seconds=60, clock=lambda: utc_now() + timedelta(days=3))
    await later.tidy()
    assert await server.objects.stat(key) is None
    await db.close()


async def test_who_read_parts_of_an_import_that_is_over_is_forgotten(both: Server) -> None:
    names = {"imports/led", "imports/led/1/7", "other/led/1"}
    db = both.app._db
    async with db.write() as tx:
        for name in names | {"imports/gone/1/7"}:
            assert await leases.take(tx, name, "somebody", 60)
    await Housekeeper(db, both.objects, url_seconds=60).tidy()
    async with db.read() as tx:
        assert {*await tx.scalars(sa.select(LEASES.c.name))} >= names
        assert await leases.held(tx, "imports/gone/", 60) == set()


async def test_trouble_with_one_step_does_not_keep_the_others(
    server: Server, project: Project, settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.upload([b"x"], project)
    db = Database.connect(settings.database_url)
    real = FolderObjectStore.list

    def fail_at_staging(store: FolderObjectStore, prefix: str = "") -> AsyncIterator[ObjectStat]:
        if prefix == staging_prefix(project.uid):
            raise ZeroDivisionError
        return real(store, prefix)

    async def fail(_: Housekeeper) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(FolderObjectStore, "list", fail_at_staging)
    monkeypatch.setattr(Housekeeper, "_forget_files", fail)
    later = Housekeeper(db, server.objects, url_seconds=60, clock=lambda: utc_now() + timedelta(days=9))
    await later.tidy()
    assert not await server.has_bytes(project, b"x")
    await db.close()


async def test_an_upload_that_arrives_after_its_project_was_deleted_is_collected(
    server: Server, project: Project, settings: AnnotationSettings
) -> None:
    key = staging_key(project.uid, digest_of(b"x"))
    db = Database.connect(settings.database_url)
    await server.stub.DeleteProject(DeleteProjectRequest(name=project.name))

    async def tidy(after: timedelta) -> None:
        await Housekeeper(db, server.objects, url_seconds=3600, clock=lambda: utc_now() + after).bury()

    for hours in (0, 1):
        await tidy(timedelta(hours=hours))
        await server.objects.put(key, b"x")
    await tidy(timedelta(hours=3))
    assert await server.objects.stat(key) is None
    async with db.read() as tx:
        assert await graves.deleted(tx) == []
    await db.close()


async def test_bytes_of_a_deleted_project_go_also_where_the_database_has_no_room_to_forget_it(
    server: Server, project: Project, settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.upload([png(1)], project)
    await server.app.loops.close()
    await server.stub.DeleteProject(DeleteProjectRequest(name=project.name))

    async def find_no_room(*_: object) -> bool:
        raise ResourceExhausted("DISK_FULL", "the database has no space left; free some and repeat")

    db = Database.connect(settings.database_url)
    with monkeypatch.context() as patched:
        patched.setattr(graves, "remove_rows", find_no_room)
        await Housekeeper(db, server.objects, url_seconds=60).bury()
    assert await server.objects.stat(blob_key(project.uid, digest_of(png(1)))) is None
    await Housekeeper(db, server.objects, url_seconds=60, clock=lambda: utc_now() + timedelta(days=1)).bury()
    async with db.read() as tx:
        assert await graves.deleted(tx) == []
    await db.close()


async def test_deleting_many_projects_does_not_look_through_all_of_them_each_time(
    server: Server, settings: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.app.loops.close()
    db = Database.connect(settings.database_url)
    real, listed, later = FolderObjectStore.list, list[str](), timedelta()

    def count(store: FolderObjectStore, prefix: str = "") -> AsyncIterator[ObjectStat]:
        listed.append(prefix)
        return real(store, prefix)

    monkeypatch.setattr(FolderObjectStore, "list", count)
    keeper = Housekeeper(db, server.objects, url_seconds=3600, clock=lambda: utc_now() + later)
    projects = [await server.project(f"p{number}") for number in range(3)]
    for project in projects:
        await server.stub.DeleteProject(DeleteProjectRequest(name=project.name))
        await keeper.bury()
    assert listed == [f"{project.uid}/" for project in projects]
    key = staging_key(projects[0].uid, digest_of(b"x"))
    await server.objects.put(key, b"x")
    later = timedelta(minutes=10)
    await keeper.bury()
    assert await server.objects.stat(key) is None, "what arrives late goes all the same"
    await db.close()
