"""Projects, labels and references."""

import asyncio

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.annotation.v1 import (
    AcquireReferenceRequest,
    CreateImportRequest,
    CreateLabelRequest,
    CreateProjectRequest,
    DeleteLabelRequest,
    DeleteProjectRequest,
    GetAnnotationSetRequest,
    GetLabelRequest,
    GetProjectRequest,
    Import,
    ImportFile,
    Label,
    ListAssetsRequest,
    ListLabelsRequest,
    ListProjectsRequest,
    ListReferencesRequest,
    Project,
    ReleaseReferenceRequest,
    UpdateLabelRequest,
    UpdateProjectRequest,
)
from bloomery_annotation.app import MIGRATIONS
from bloomery_annotation.housekeeping import Housekeeper
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import projects
from bloomery_annotation.store.tables import BLOBS, OWNED_BY_PROJECT
from bloomery_kit.database import Database
from bloomery_kit.sequences import next_sequence
from tests.annotation.helpers import AS_SERVICE, Server, box, fields_of, png, reason_of, status_of


async def test_a_project_is_made_once_for_a_request_id(both: Server) -> None:
    request = CreateProjectRequest(project_id="cells", project=Project(labels={"team": "blood"}), request_id="one")
    first = await both.stub.CreateProject(request)
    assert await both.stub.CreateProject(request) == first
    assert (first.name, first.display_name, dict(first.labels)) == ("projects/cells", "cells", {"team": "blood"})
    request.project.display_name = "Cells"
    assert reason_of(await status_of(both.stub.CreateProject(request))) == "REQUEST_ID_REUSED"


async def test_a_request_id_is_its_callers_own(both: Server) -> None:
    await both.project()
    request = CreateLabelRequest(parent="projects/p", label=Label(display_name="cell"), request_id="one")
    first = await both.stub.CreateLabel(request)
    async with both.as_user("ANNOTATOR:vera") as vera:
        assert reason_of(await status_of(vera.CreateLabel(request))) == "ALREADY_EXISTS"
    assert await both.stub.CreateLabel(request) == first


async def test_a_repeat_gets_the_first_answer_whatever_has_changed_since(both: Server) -> None:
    project = await both.project()
    (digest,) = await both.upload([png(1)], project)
    wanted = Import(files=[ImportFile(path="a.png", digest=digest)])
    request = CreateImportRequest(parent=project.name, request_id="one", **{"import": wanted})  # type: ignore[arg-type]
    first = await both.stub.CreateImport(request)
    await both.finish(first.name)
    db = both.app._db
    async with db.write() as tx:
        await tx.execute(sa.delete(BLOBS))
    assert await both.stub.CreateImport(request) == first


async def test_a_request_id_is_new_in_a_project_that_was_made_again(both: Server) -> None:
    await both.project("p")
    other = await both.project("p-p")
    request = CreateLabelRequest(parent="projects/p", label_id="cell", request_id="one")
    first = await both.stub.CreateLabel(request)
    of_other = await both.stub.CreateLabel(CreateLabelRequest(parent=other.name, label_id="cell", request_id="one"))
    await both.stub.DeleteProject(DeleteProjectRequest(name="projects/p"))
    await both.project("p")
    again = await both.stub.CreateLabel(request)
    assert (again.name, again.uid == first.uid) == (first.name, False)
    kept = CreateLabelRequest(parent=other.name, label_id="cell", request_id="one")
    assert await both.stub.CreateLabel(kept) == of_other


async def test_a_lock_that_was_waited_for_shows_the_newest_sequence(
    both: Server, both_settings: AnnotationSettings
) -> None:
    project = await both.project()
    db = Database.connect(both_settings.database_url, "annotation")
    waiting = asyncio.Event()

    async def wait_for_it() -> int:
        waiting.set()
        async with db.write() as tx:
            return (await projects.lock(tx, "p")).sequence

    async with db.write() as tx:
        await projects.lock(tx, "p")
        waiter = asyncio.create_task(wait_for_it())
        await waiting.wait()
        await asyncio.sleep(0.1)
        await next_sequence(tx, project.uid)
    assert await waiter == 1
    await db.close()


async def test_a_taken_id_is_refused(both: Server) -> None:
    await both.project("cells")
    assert reason_of(await status_of(both.stub.CreateProject(CreateProjectRequest(project_id="cells")))) == (
        "ALREADY_EXISTS"
    )


async def test_every_bad_field_is_named_at_once(server: Server) -> None:
    bad = Project(display_name="x" * 300, labels={"": "v"})
    status = await status_of(server.stub.CreateProject(CreateProjectRequest(project_id="Bad Id", project=bad)))
    assert fields_of(status) == ["project_id", "project.display_name", "project.labels"]


async def test_projects_are_listed_by_pages_in_order(server: Server) -> None:
    for name in ("b", "c", "a"):
        await server.project(name)
    first = await server.stub.ListProjects(ListProjectsRequest(page_size=2))
    rest = await server.stub.ListProjects(ListProjectsRequest(page_size=2, page_token=first.next_page_token))
    assert [one.name for one in (*first.projects, *rest.projects)] == ["projects/a", "projects/b", "projects/c"]
    assert (first.total_size, rest.next_page_token) == (3, "")


async def test_an_update_changes_what_the_mask_names(server: Server, project: Project) -> None:
    wanted = Project(name=project.name, display_name="Cells", labels={"a": "b"}, etag=project.etag)
    mask = FieldMask(paths=["display_name"])
    updated = await server.stub.UpdateProject(UpdateProjectRequest(project=wanted, update_mask=mask))
    assert (updated.display_name, dict(updated.labels)) == ("Cells", {})
    assert updated.etag != project.etag
    stale = await status_of(server.stub.UpdateProject(UpdateProjectRequest(project=wanted, update_mask=mask)))
    assert reason_of(stale) == "ETAG_MISMATCH"
    mask = FieldMask(paths=["uid", "nonsense"])
    refused = await status_of(server.stub.UpdateProject(UpdateProjectRequest(project=wanted, update_mask=mask)))
    assert fields_of(refused) == ["update_mask", "update_mask"]


async def test_a_project_that_somebody_needs_stays(both: Server) -> None:
    project = await both.project()
    hold = AcquireReferenceRequest(resource=project.name, holder="projects/p/datasets/d")
    held = await both.stub.AcquireReference(hold, metadata=AS_SERVICE)
    assert await both.stub.AcquireReference(hold, metadata=AS_SERVICE) == held
    status = await status_of(both.stub.DeleteProject(DeleteProjectRequest(name=project.name)))
    assert reason_of(status) == "STILL_REFERENCED"
    assert "is needed by datasets/d" in status.message
    for _ in range(2):
        await both.stub.ReleaseReference(
            ReleaseReferenceRequest(resource=project.name, holder=hold.holder), metadata=AS_SERVICE
        )
    await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
    gone = await status_of(both.stub.GetProject(GetProjectRequest(name=project.name)))
    assert reason_of(gone) == "NOT_FOUND"


async def test_a_project_that_is_meant_by_its_uid_is_held_only_while_it_has_its_id(both: Server) -> None:
    project = await both.project()
    hold = AcquireReferenceRequest(resource=project.name, holder="projects/p/datasets/d", uid=project.uid)
    await both.stub.AcquireReference(hold, metadata=AS_SERVICE)
    await both.stub.ReleaseReference(
        ReleaseReferenceRequest(resource=project.name, holder=hold.holder), metadata=AS_SERVICE
    )
    await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
    await both.project()
    status = await status_of(both.stub.AcquireReference(hold, metadata=AS_SERVICE))
    assert reason_of(status) == "NOT_FOUND"
    await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))


async def test_holders_are_listed_as_people_call_them(both: Server) -> None:
    project = await both.project()
    holders = {f"projects/p/datasets/cells/versions/{number}": f"datasets/cells@{number}" for number in range(1, 6)}

    async def hold(holder: str, title: str) -> None:
        request = AcquireReferenceRequest(resource=project.name, holder=holder, title=title)
        await both.stub.AcquireReference(request, metadata=AS_SERVICE)

    for holder in holders:
        await hold(holder, "datasets/cells")
    status = await status_of(both.stub.DeleteProject(DeleteProjectRequest(name=project.name)))
    assert status.message.endswith("is needed by datasets/cells")
    for holder, title in holders.items():
        await hold(holder, title)
    status = await status_of(both.stub.DeleteProject(DeleteProjectRequest(name=project.name)))
    assert "needed by datasets/cells@1, datasets/cells@2, datasets/cells@3, ..." in status.message
    found: dict[str, str] = {}
    request = ListReferencesRequest(parent=project.name, page_size=2)
    while True:
        page = await both.stub.ListReferences(request)
        assert len(page.references) <= 2
        found |= {one.holder: one.title for one in page.references}
        assert {one.resource for one in page.references} == {project.name}
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == holders


async def test_nothing_of_a_deleted_project_is_left(both: Server, both_settings: AnnotationSettings) -> None:
    project = await both.project()
    await both.label("rbc")
    assets = await both.assets(project, [png(1), png(2)])
    await both.save(assets[0], [box("rbc")])
    await both.run_import(project, {"a.png": png(3), "junk.txt": b"0 0 0 0 0"})
    other = await both.project("other")
    await both.assets(other, [png(1)])
    foreign = f"{project.uid}/jobs/j/model"
    await both.objects.put(foreign, b"of another service")
    await both.stub.DeleteProject(DeleteProjectRequest(name=project.name))
    again = await both.project()
    assert again.uid != project.uid
    assert (await both.stub.ListAssets(ListAssetsRequest(parent=again.name))).total_size == 0

    db = Database.connect(both_settings.database_url, "annotation")
    await Housekeeper(db, both.objects, url_seconds=60).bury()
    async with db.read() as tx:
        for table in OWNED_BY_PROJECT:
            owners = {row.project_uid for row in await tx.execute(table.select())}
            assert project.uid not in owners, table.name
    await db.close()
    assert [stat.key async for stat in both.objects.list(f"{project.uid}/")] == [foreign]
    assert [stat.key async for stat in both.objects.list(f"{other.uid}/")]


async def test_a_label_gets_a_readable_id_and_a_colour(server: Server, project: Project) -> None:
    async def make(display_name: str) -> Label:
        label = Label(display_name=display_name)
        made: Label = await server.stub.CreateLabel(CreateLabelRequest(parent=project.name, label=label))
        return made

    made = [await make(name) for name in ("RBC", "traffic light", "rbc", "红")]
    ids = [label.name.rpartition("/")[2] for label in made]
    assert ids[:2] == ["rbc", "traffic-light"]
    assert len(set(ids)) == 4
    assert len({label.color for label in made}) == 4
    listed = await server.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert list(listed.labels) == made
    assert reason_of(await status_of(make("RBC"))) == "ALREADY_EXISTS"


async def test_a_display_name_is_taken_by_one_label(both: Server) -> None:
    await both.project()
    await both.label("rbc")
    await both.label("wbc")
    wanted = Label(name="projects/p/labels/wbc", display_name="rbc")
    status = await status_of(both.stub.UpdateLabel(UpdateLabelRequest(label=wanted)))
    assert reason_of(status) == "ALREADY_EXISTS"
    wanted.display_name, wanted.color = "White", "#FFFFFF"
    renamed = await both.stub.UpdateLabel(UpdateLabelRequest(label=wanted))
    assert (renamed.display_name, renamed.color) == ("White", "#FFFFFF")


async def test_a_label_in_use_is_only_deleted_by_force_and_as_a_revision(both: Server) -> None:
    project = await both.project()
    await both.label("rbc")
    await both.label("wbc")
    assets = await both.assets(project, [png(1), png(2)])
    for asset in assets:
        await both.save(asset, [box("rbc"), box("wbc", x=20)])
    name = "projects/p/labels/rbc"
    refused = await status_of(both.stub.DeleteLabel(DeleteLabelRequest(name=name)))
    assert reason_of(refused) == "LABEL_IN_USE"
    await both.stub.DeleteLabel(DeleteLabelRequest(name=name, force=True))
    left = await both.stub.GetLabel(GetLabelRequest(name="projects/p/labels/wbc"))
    assert left.shape_count == 2
    set_name = f"{assets[0].name}/annotationSets/main"
    now = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=set_name))
    before = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=set_name, revision=1))
    assert [shape.label for shape in now.shapes] == ["wbc"]
    assert [shape.label for shape in before.shapes] == ["rbc", "wbc"]
    assert (now.revision, now.author) == (2, "owner")


async def test_a_viewer_may_not_write(server: Server, project: Project) -> None:
    async with server.as_user("VIEWER:vera") as vera:
        assert await vera.GetProject(GetProjectRequest(name=project.name)) == project
        status = await status_of(vera.DeleteProject(DeleteProjectRequest(name=project.name)))
    assert reason_of(status) == "PERMISSION_DENIED"


@pytest.mark.parametrize("name", ["projects/", "projects/P", "labels/x", ""])
async def test_a_name_of_another_shape_is_refused(server: Server, name: str) -> None:
    assert fields_of(await status_of(server.stub.GetProject(GetProjectRequest(name=name)))) == ["name"]


async def test_the_migrations_make_the_tables_that_the_code_uses(both_settings: AnnotationSettings) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from bloomery_annotation.store.tables import METADATA
    from bloomery_kit.migrations import migrate

    db = Database.connect(both_settings.database_url)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), METADATA)
        )
    await db.close()
    assert [one for one in differences if "alembic_version" not in str(one)] == []
