"""Imports: what they are to read, how far they are, and who runs them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Failure, Import, ImportCounts, ImportState, Problem, Project
from bloomery_annotation.names import IMPORT
from bloomery_annotation.store.tables import IMPORT_FILES, IMPORT_PROBLEMS, IMPORTS, PROJECTS
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore
from bloomery_kit.errors import AlreadyExists, NotFound
from bloomery_kit.sequences import next_sequence
from bloomery_vision.findings import Finding, Severity
from bloomery_vision.formats import Format

MAX_PROBLEMS = 1000
"""Findings kept of one import."""

_I = IMPORTS.c
_COUNTS = tuple(ImportCounts.__dataclass_fields__)
_ACTIVE = (ImportState.PENDING.value, ImportState.RUNNING.value)


@dataclass(frozen=True)
class Claim:
    """The right to run an import: its holder's epoch. A later claim takes it away."""

    project_id: str
    import_uid: str
    epoch: int


@dataclass(frozen=True)
class Active:
    """An import that is not finished, and the sign of life of who runs it."""

    project_id: str
    import_uid: str
    epoch: int
    beat: int
    held: bool


async def next_position(tx: Transaction, project: Project) -> int:
    """The place of the next import in the order of creation."""
    return await next_sequence(tx, f"{project.uid}/imports")


async def create(tx: Transaction, new: Import, files: Mapping[str, str]) -> None:
    """Store an import and its files, digests by path. Raise AlreadyExists if the id is taken."""
    row = {
        "uid": new.uid,
        "project_uid": new.project_uid,
        "id": new.id,
        "display_name": new.display_name,
        "format": new.format.value if new.format else "",
        "state": new.state.value,
        "cancel_requested": False,
        "failure_reason": "",
        "failure_message": "",
        **asdict(new.counts),
        "position": new.position,
        "sequence": new.sequence,
        "epoch": 0,
        "beat": 0,
        "held": False,
        "create_time": new.create_time,
        "update_time": new.update_time,
    }
    if not await insert_ignore(tx, IMPORTS, row):
        raise AlreadyExists("import", new.name)
    common = {"import_uid": new.uid, "project_uid": new.project_uid}
    await insert_ignore(tx, IMPORT_FILES, [common | {"path": path, "digest": d} for path, d in files.items()])


async def find(tx: Transaction, project: Project, import_id: str) -> Import:
    """Raise NotFound if there is none."""
    query = sa.select(IMPORTS).where(_I.project_uid == project.uid, _I.id == import_id)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        name = IMPORT.format(project=project.id, import_id=import_id)
        raise NotFound("import", name, "list the project's imports")
    return _import(project, row, await _problems(tx, row.uid))


async def page(tx: Transaction, project: Project, before: int | None, size: int) -> list[Import]:
    """Imports without their problems, newest first."""
    query = sa.select(IMPORTS).where(_I.project_uid == project.uid)
    if before is not None:
        query = query.where(_I.position < before)
    rows = await tx.execute(query.order_by(_I.position.desc()).limit(size))
    return [_import(project, row, ()) for row in rows]


async def request_cancel(tx: Transaction, found: Import, now: datetime) -> None:
    """End an import that nobody runs, ask a running one to stop, leave a finished one."""
    waiting = (_I.uid == found.uid, _I.state == ImportState.PENDING.value)
    if await compare_and_set(tx, IMPORTS, *waiting, values=_moved(now, state=ImportState.CANCELLED.value)):
        return
    running = (_I.uid == found.uid, _I.state == ImportState.RUNNING.value, _I.cancel_requested.is_(False))
    await compare_and_set(tx, IMPORTS, *running, values=_moved(now, cancel_requested=True))


async def active(tx: Transaction, limit: int = 100) -> list[Active]:
    """The imports that are not finished, oldest first."""
    query = sa.select(_I.uid, _I.epoch, _I.beat, _I.held, PROJECTS.c.id.label("project_id"))
    query = query.join(PROJECTS, PROJECTS.c.uid == _I.project_uid).where(_I.state.in_(_ACTIVE))
    rows = await tx.execute(query.order_by(_I.create_time, _I.uid).limit(limit))
    return [Active(row.project_id, row.uid, row.epoch, row.beat, row.held) for row in rows]


async def claim(tx: Transaction, seen: Active, now: datetime) -> Claim | None:
    """Take an import over, if it still is as it was seen."""
    unmoved = (_I.uid == seen.import_uid, _I.epoch == seen.epoch, _I.beat == seen.beat, _I.state.in_(_ACTIVE))
    values = _moved(now, state=ImportState.RUNNING.value, epoch=seen.epoch + 1, held=True)
    if not await compare_and_set(tx, IMPORTS, *unmoved, values=values):
        return None
    return Claim(seen.project_id, seen.import_uid, seen.epoch + 1)


async def beat(tx: Transaction, claim: Claim) -> bool:
    """Show that the holder lives; False if the claim is lost."""
    return await compare_and_set(tx, IMPORTS, *_held(claim), values={"beat": _I.beat + 1})


async def release(tx: Transaction, claim: Claim) -> None:
    """Leave an unfinished import to whoever comes next."""
    await compare_and_set(tx, IMPORTS, *_held(claim), values={"held": False, "beat": _I.beat + 1})


async def read(tx: Transaction, project: Project, claim: Claim) -> Import | None:
    """The import, None if the claim is lost."""
    row = (await tx.execute(sa.select(IMPORTS).where(*_held(claim)))).one_or_none()
    return _import(project, row, ()) if row else None


async def advance(
    tx: Transaction,
    claim: Claim,
    counts: ImportCounts,
    now: datetime,
    *,
    file_format: Format | None = None,
    state: ImportState = ImportState.RUNNING,
    failure: Failure | None = None,
) -> bool:
    """Record how far it is; False, and nothing, if the claim is lost."""
    values = _moved(now, **asdict(counts), state=state.value, beat=_I.beat + 1, held=not state.terminal)
    if file_format:
        values["format"] = file_format.value
    if failure:
        values |= {"failure_reason": failure.reason, "failure_message": failure.message}
    return await compare_and_set(tx, IMPORTS, *_held(claim), values=values)


async def add_problems(tx: Transaction, current: Import, problems: Sequence[Problem]) -> None:
    """Keep findings that follow the `problem_count` ones of `current`, up to the limit."""
    first = current.counts.problem_count
    rows = [
        {
            "import_uid": current.uid,
            "number": first + number,
            "project_uid": current.project_uid,
            "item": problem.item,
            "severity": problem.finding.severity.value,
            "code": problem.finding.code,
            "message": problem.finding.message,
            "hint": problem.finding.hint,
            "path": problem.finding.path,
        }
        for number, problem in enumerate(problems)
        if first + number < MAX_PROBLEMS
    ]
    if rows:
        await tx.execute(sa.insert(IMPORT_PROBLEMS), rows)


def _held(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    return _I.uid == claim.import_uid, _I.epoch == claim.epoch, _I.state == ImportState.RUNNING.value


def _moved(now: datetime, **values: object) -> dict[str, object]:
    return {**values, "sequence": _I.sequence + 1, "update_time": now}


async def _problems(tx: Transaction, import_uid: str) -> tuple[Problem, ...]:
    columns = IMPORT_PROBLEMS.c
    query = sa.select(IMPORT_PROBLEMS).where(columns.import_uid == import_uid).order_by(columns.number)
    return tuple(
        Problem(row.item, Finding(row.code, Severity(row.severity), row.message, row.hint, row.path))
        for row in await tx.execute(query)
    )


def _import(project: Project, row: sa.Row[Any], problems: tuple[Problem, ...]) -> Import:
    return Import(
        project_id=project.id,
        project_uid=row.project_uid,
        id=row.id,
        uid=row.uid,
        display_name=row.display_name,
        format=Format(row.format) if row.format else None,
        state=ImportState(row.state),
        counts=ImportCounts(**{name: getattr(row, name) for name in _COUNTS}),
        position=row.position,
        sequence=row.sequence,
        create_time=row.create_time,
        update_time=row.update_time,
        failure=Failure(row.failure_reason, row.failure_message) if row.failure_reason else None,
        cancel_requested=row.cancel_requested,
        problems=problems,
    )
