"""Imports."""

from collections.abc import AsyncIterator

from bloomery.annotation.v1 import (
    CancelImportRequest,
    CreateImportRequest,
    Format,
    GetImportRequest,
    ListImportsRequest,
    ListImportsResponse,
    WatchImportRequest,
)
from bloomery.annotation.v1 import Import as ImportMessage
from bloomery_annotation import checks, convert, metrics
from bloomery_annotation.blobs import blob_missing
from bloomery_annotation.checks import MAX_NAME
from bloomery_annotation.importer.runner import WAKE
from bloomery_annotation.model import Import, ImportCounts, ImportState, Project
from bloomery_annotation.names import IMPORT, PROJECT
from bloomery_annotation.service.base import Methods, number_cursor
from bloomery_annotation.store import blobs, imports
from bloomery_kit.database import Transaction
from bloomery_kit.errors import Violations
from bloomery_kit.feeds import watch_states
from bloomery_kit.fields import check_text
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.names import new_uid, short_id, validate_id
from bloomery_kit.pages import PageRequest


class ImportMethods(Methods):
    """The rpcs of imports."""

    async def CreateImport(self, request: CreateImportRequest, _context: object) -> ImportMessage:
        """See the contract."""
        repeatable: Repeatable[ImportMessage] = Repeatable(
            "CreateImport", request.parent, request, clock=self._parts.clock
        )
        if answer := await repeatable.first_answer(self._parts.db):
            return answer
        project_id, files = _check(request)
        async with self._write(project_id) as (tx, project):

            async def make() -> ImportMessage:
                await _check_blobs(tx, project, {*filter(None, [*files.values(), _wanted(request).file_list])})
                new = await self._import(tx, project, request)
                await imports.create(tx, new, files)
                return convert.annotation_import(new)

            made = await repeatable.once(tx, make)
        self._parts.changed.notify(WAKE)
        return made

    async def GetImport(self, request: GetImportRequest, _context: object) -> ImportMessage:
        """See the contract."""
        return convert.annotation_import(await self._load(request.name, with_plan=True))

    async def ListImports(self, request: ListImportsRequest, _context: object) -> ListImportsResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request)
        async with self._read(request.parent) as (tx, project):
            found = await imports.page(tx, project, number_cursor(page), page.size + 1)
        shown = found[: page.size]
        token = page.next_token((shown[-1].position,)) if len(found) > page.size else ""
        return ListImportsResponse(imports=map(convert.annotation_import, shown), next_page_token=token)

    async def CancelImport(self, request: CancelImportRequest, _context: object) -> ImportMessage:
        """See the contract."""
        ids = IMPORT.parse(request.name)
        async with self._write(ids["project"]) as (tx, project):
            found = await imports.find(tx, project, ids["import_id"])
            has_ended = await imports.request_cancel(tx, found, self._parts.clock())
            found = await imports.find(tx, project, ids["import_id"], with_plan=True)
        if has_ended:
            metrics.IMPORTS.labels(found.state.value).inc()
        self._parts.changed.notify(found.uid)
        return convert.annotation_import(found)

    async def WatchImport(self, request: WatchImportRequest, _context: object) -> AsyncIterator[ImportMessage]:
        """See the contract."""
        states = watch_states(
            lambda: self._load(request.name),
            changed=self._parts.changed,
            key=(await self._load(request.name)).uid,
            until=lambda state: state.state.terminal,
            seen=lambda state: state.sequence <= request.after_sequence,
            draining=self._parts.draining,
        )
        async for state in states:
            last = state.state.terminal
            yield convert.annotation_import(await self._load(request.name, with_plan=True) if last else state)

    async def _load(self, name: str, *, with_plan: bool = False) -> Import:
        ids = IMPORT.parse(name)
        async with self._read(PROJECT.format(project=ids["project"])) as (tx, project):
            return await imports.find(tx, project, ids["import_id"], with_plan=with_plan)

    async def _import(self, tx: Transaction, project: Project, request: CreateImportRequest) -> Import:
        now, uid = self._parts.clock(), new_uid()
        import_id = request.import_id or f"i{short_id(uid)}"
        return Import(
            project_id=project.id,
            project_uid=project.uid,
            id=import_id,
            uid=uid,
            display_name=_wanted(request).display_name or import_id,
            asked=convert.FORMATS[_wanted(request).format],
            format=convert.FORMATS[_wanted(request).format],
            file_list=_wanted(request).file_list,
            plan_only=_wanted(request).plan_only,
            strict=_wanted(request).strict,
            state=ImportState.PENDING,
            counts=ImportCounts(),
            position=await imports.next_position(tx, project),
            sequence=1,
            create_time=now,
            update_time=now,
        )


def _check(request: CreateImportRequest) -> tuple[str, dict[str, str]]:
    violations = Violations()
    ids = PROJECT.check(request.parent, "parent", violations)
    if request.import_id:
        validate_id(request.import_id, "import_id", violations)
    wanted = _wanted(request)
    check_text(wanted.display_name, "import.display_name", violations, length=MAX_NAME)
    if wanted.format not in convert.FORMATS:
        violations.add("import.format", f"is not a format; use {', '.join(Format.keys()[1:])}, or leave it out")
    files = _check_files(wanted, violations)
    violations.raise_if_any()
    assert ids is not None
    return ids["project"], files


def _wanted(request: CreateImportRequest) -> ImportMessage:
    # The field has the name of a keyword.
    wanted: ImportMessage = getattr(request, "import")
    return wanted


def _check_files(wanted: ImportMessage, violations: Violations) -> dict[str, str]:
    files: dict[str, str] = {}
    if bool(wanted.files) is bool(wanted.file_list):
        violations.add("import.files", "name the files of the folder, or a list of them in file_list, and not both")
    if wanted.file_list:
        checks.digest(wanted.file_list, "import.file_list", violations)
    for number, file in enumerate(wanted.files):
        checks.file_path(file.path, f"import.files[{number}].path", violations)
        checks.file_digest(
            file.path, file.digest, f"import.files[{number}].digest", violations, plan_only=wanted.plan_only
        )
        if files.setdefault(file.path, file.digest) != file.digest:
            violations.add(f"import.files[{number}].path", f"{file.path[:80]!r} comes twice with different bytes")
    return files


async def _check_blobs(tx: Transaction, project: Project, digests: set[str]) -> None:
    if missing := sorted(digests - (await blobs.known(tx, project.uid, digests)).keys()):
        raise blob_missing(missing)
