"""Projects and references to them."""

from google.protobuf.empty_pb2 import Empty

from bloomery.annotation.v1 import (
    AcquireReferenceRequest,
    CreateProjectRequest,
    DeleteProjectRequest,
    GetProjectRequest,
    ListProjectsRequest,
    ListProjectsResponse,
    ListReferencesRequest,
    ListReferencesResponse,
    ReleaseReferenceRequest,
    UpdateProjectRequest,
)
from bloomery.annotation.v1 import Project as ProjectMessage
from bloomery.common.v1 import Reference as ReferenceMessage
from bloomery_annotation import convert
from bloomery_annotation.accounts import NEWS
from bloomery_annotation.checks import MAX_NAME
from bloomery_annotation.housekeeping import DELETED
from bloomery_annotation.model import Project
from bloomery_annotation.names import PROJECT
from bloomery_annotation.service.base import Methods, text_cursor
from bloomery_annotation.store import projects
from bloomery_kit.context import current_principal
from bloomery_kit.errors import NotFound, Violations
from bloomery_kit.etags import check_etag
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import new_uid, validate_id
from bloomery_kit.pages import PageRequest


class ProjectMethods(Methods):
    """The rpcs of projects."""

    async def CreateProject(self, request: CreateProjectRequest, _context: object) -> ProjectMessage:
        """See the contract."""
        repeatable: Repeatable[ProjectMessage] = Repeatable("CreateProject", "", request, clock=self._parts.clock)
        if answer := await repeatable.first_answer(self._parts.db):
            await self._parts.accounts.tell_soon(answer.name.removeprefix("projects/"))
            return answer
        violations = Violations()
        validate_id(request.project_id, "project_id", violations)
        _check(request.project, violations)
        violations.raise_if_any()
        new, creator = self._project(request), current_principal().subject
        await self._parts.accounts.tell_gone(new.id)
        async with self._parts.db.write() as tx:

            async def make() -> ProjectMessage:
                await projects.create(tx, new, creator)
                return convert.project(new)

            made = await repeatable.once(tx, make)
        await self._tell(new.id)
        return made

    async def GetProject(self, request: GetProjectRequest, _context: object) -> ProjectMessage:
        """See the contract."""
        async with self._read(request.name, "name") as (_, project):
            return convert.project(project)

    async def ListProjects(self, request: ListProjectsRequest, _context: object) -> ListProjectsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        after = text_cursor(page, 1) or ("",)
        async with self._parts.db.read() as tx:
            found = await projects.page(tx, after[0], page.size + 1)
            total = await projects.count(tx)
        shown = found[: page.size]
        token = page.next_token((shown[-1].id,)) if len(found) > page.size else ""
        return ListProjectsResponse(projects=map(convert.project, shown), next_page_token=token, total_size=total)

    async def UpdateProject(self, request: UpdateProjectRequest, _context: object) -> ProjectMessage:
        """See the contract."""
        violations = Violations()
        ids = PROJECT.check(request.project.name, "project.name", violations)
        _check(request.project, violations)
        violations.raise_if_any()
        assert ids is not None
        paths = apply_mask(request.update_mask, request.project, {"display_name", "labels"})
        async with self._write(ids["project"]) as (tx, project):
            check_etag(request.project.etag, project.etag, project.name)
            values: dict[str, object] = {}
            if "display_name" in paths:
                values["display_name"] = request.project.display_name or project.id
            if "labels" in paths:
                values["labels"] = dict(request.project.labels)
            changed = await projects.change(tx, project, values, self._parts.clock()) if values else project
        return convert.project(changed)

    async def DeleteProject(self, request: DeleteProjectRequest, _context: object) -> Empty:
        """See the contract."""
        async with self._write(PROJECT.parse(request.name)["project"]) as (tx, project):
            await projects.delete(tx, project, self._parts.clock())
        self._parts.changed.notify(DELETED)
        await self._tell(project.id)
        return Empty()

    async def ListReferences(self, request: ListReferencesRequest, _context: object) -> ListReferencesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        after = text_cursor(page, 1) or ("",)
        async with self._read(request.parent) as (tx, project):
            found = await projects.references(tx, project, after[0], page.size + 1)
        shown = found[: page.size]
        token = page.next_token((shown[-1].holder,)) if len(found) > page.size else ""
        return ListReferencesResponse(references=map(convert.reference, shown), next_page_token=token)

    async def AcquireReference(self, request: AcquireReferenceRequest, _context: object) -> ReferenceMessage:
        """See the contract."""
        project_id = _check_reference(request.resource, request.holder, request.title)
        async with self._write(project_id) as (tx, project):
            if request.uid not in ("", project.uid):
                raise NotFound("project", project.name, "it was deleted, and its id used again")
            held = await projects.acquire(tx, project, request.holder, request.title, self._parts.clock())
        return convert.reference(held)

    async def ReleaseReference(self, request: ReleaseReferenceRequest, _context: object) -> Empty:
        """See the contract."""
        project_id = _check_reference(request.resource, request.holder)
        async with self._write(project_id) as (tx, project):
            await projects.release(tx, project, request.holder)
        return Empty()

    async def _tell(self, project_id: str) -> None:
        """Tell who is who's admin before the answer where that can be, so that the caller can go on."""
        await self._parts.accounts.tell_soon(project_id)
        self._parts.changed.notify(NEWS)

    def _project(self, request: CreateProjectRequest) -> Project:
        now = self._parts.clock()
        return Project(
            id=request.project_id,
            uid=new_uid(),
            display_name=request.project.display_name or request.project_id,
            labels=dict(request.project.labels),
            create_time=now,
            update_time=now,
        )


def _check(message: ProjectMessage, violations: Violations) -> None:
    check_text(message.display_name, "project.display_name", violations, length=MAX_NAME)
    check_labels(message.labels, "project.labels", violations)


def _check_reference(resource: str, holder: str, title: str = "") -> str:
    violations = Violations()
    ids = PROJECT.check(resource, "resource", violations)
    check_text(holder, "holder", violations)
    check_text(title, "title", violations, length=MAX_NAME)
    if not holder:
        violations.add("holder", "is required: the resource name of what needs the project")
    violations.raise_if_any()
    assert ids is not None
    return ids["project"]
