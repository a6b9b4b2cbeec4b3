"""Imports: what they are to read, how far they are, and who runs them: only the holder of the lease moves one."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_annotation.model import Failure, Import, ImportCounts, ImportState, Problem, Project
from bloomery_annotation.names import IMPORT
from bloomery_annotation.store.keys import delete_some
from bloomery_annotation.store.tables import IMPORT_FILES, IMPORT_PLANS, IMPORT_PROBLEMS, IMPORTS, LEASES, PROJECTS
from bloomery_kit import leases
from bloomery_kit.database import Transaction, compare_and_set, insert_ignore, insert_missing
from bloomery_kit.errors import AlreadyExists, NotFound
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.sequences import next_sequence
from bloomery_vision.findings import Finding, Severity
from bloomery_vision.formats import Format

MAX_PROBLEMS = 1000
"""Findings kept of one import."""

_I = IMPORTS.c
_COUNTS = tuple(ImportCounts.__dataclass_fields__)
LEASE_PREFIX = "imports/"
"""The lease of an import is named by its uid after this, those of its parts by more behind that."""
_ACTIVE = (ImportState.PENDING.value, ImportState.RUNNING.value)


@dataclass(frozen=True)
class Waiting:
    """An import that is not finished and that nobody runs."""

    project_id: str
    import_uid: str


@dataclass(frozen=True)
class Claim:
    """The right to run an import, for as long as the lease is held."""

    project_id: str
    import_uid: str
    lease: Lease


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
        "asked_format": new.asked.value if new.asked else "",
        "file_list": new.file_list,
        "plan_only": new.plan_only,
        "strict": new.strict,
        "state": new.state.value,
        "cancel_requested": False,
        "failure_reason": "",
        "failure_message": "",
        **asdict(new.counts),
        "position": new.position,
        "sequence": new.sequence,
        "create_time": new.create_time,
        "update_time": new.update_time,
    }
    if not await insert_ignore(tx, IMPORTS, row):
        raise AlreadyExists("import", new.name)
    common = {"import_uid": new.uid, "project_uid": new.project_uid}
    await insert_missing(tx, IMPORT_FILES, [common | {"path": path, "digest": d} for path, d in files.items()])


async def find(tx: Transaction, project: Project, import_id: str, *, with_plan: bool = False) -> Import:
    """Raise NotFound if there is none. A plan may have many thousand names."""
    query = sa.select(IMPORTS).where(_I.project_uid == project.uid, _I.id == import_id)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        name = IMPORT.format(project=project.id, import_id=import_id)
        raise NotFound("import", name, "list the project's imports")
    its_plan = await plan(tx, row.uid) if with_plan else ""
    return _import(project, row, await _problems(tx, row.uid), its_plan)


async def page(tx: Transaction, project: Project, before: int | None, size: int) -> list[Import]:
    """Imports without their problems, newest first."""
    query = sa.select(IMPORTS).where(_I.project_uid == project.uid)
    if before is not None:
        query = query.where(_I.position < before)
    rows = await tx.execute(query.order_by(_I.position.desc()).limit(size))
    return [_import(project, row, ()) for row in rows]


async def request_cancel(tx: Transaction, found: Import, now: datetime) -> bool:
    """End an import that nobody runs, ask a running one to stop, leave a finished one; whether it has ended one."""
    waiting = (_I.uid == found.uid, _I.state == ImportState.PENDING.value)
    if await compare_and_set(tx, IMPORTS, *waiting, values=_moved(now, state=ImportState.CANCELLED.value)):
        return True
    running = (_I.uid == found.uid, _I.state == ImportState.RUNNING.value, _I.cancel_requested.is_(False))
    await compare_and_set(tx, IMPORTS, *running, values=_moved(now, cancel_requested=True))
    return False


async def waiting(tx: Transaction, *, term: float) -> list[Waiting]:
    """The imports that are not finished and that nobody runs, each for `term` seconds, oldest first."""
    query = sa.select(_I.uid, PROJECTS.c.id.label("project_id")).join(PROJECTS, PROJECTS.c.uid == _I.project_uid)
    rows = await tx.execute(query.where(_I.state.in_(_ACTIVE)).order_by(_I.create_time, _I.uid))
    taken = await leases.held(tx, LEASE_PREFIX, term)
    return [Waiting(row.project_id, row.uid) for row in rows if _lease_name(row.uid) not in taken]


async def claim(tx: Transaction, wanted: Waiting, now: datetime, *, holder: str, term: float) -> Claim | None:
    """Take an import for `term` seconds; None where somebody else has it, it rests, or it has ended."""
    lease = await leases.take(tx, _lease_name(wanted.import_uid), holder, term)
    if lease is None:
        return None
    unfinished = (_I.uid == wanted.import_uid, _I.state.in_(_ACTIVE))
    if not await compare_and_set(tx, IMPORTS, *unfinished, values=_moved(now, state=ImportState.RUNNING.value)):
        await leases.forget(tx, lease.name)
        return None
    return Claim(wanted.project_id, wanted.import_uid, lease)


async def held(tx: Transaction, project: Project, claim: Claim) -> Import:
    """The import that one runs, which nobody takes before this transaction ends. Raise LeaseLost."""
    await leases.fence(tx, claim.lease)
    running = (_I.uid == claim.import_uid, _I.project_uid == project.uid, _I.state == ImportState.RUNNING.value)
    row = (await tx.execute(sa.select(IMPORTS).where(*running))).one_or_none()
    if row is None:
        raise LeaseLost(claim.lease.name)
    return _import(project, row, ())


async def advance(
    tx: Transaction,
    claim: Claim,
    counts: ImportCounts,
    now: datetime,
    *,
    state: ImportState = ImportState.RUNNING,
    failure: Failure | None = None,
) -> None:
    """Record how far it is. Raise LeaseLost, by which everything that the transaction wrote is undone."""
    await leases.fence(tx, claim.lease)
    values = _moved(now, **asdict(counts), state=state.value)
    if failure:
        values |= {"failure_reason": failure.reason, "failure_message": failure.message}
    running = (_I.uid == claim.import_uid, _I.state == ImportState.RUNNING.value)
    if not await compare_and_set(tx, IMPORTS, *running, values=values):
        raise LeaseLost(claim.lease.name)
    if state.terminal:
        # First, so that nobody takes a part any more.
        await leases.forget(tx, claim.lease.name)
        await leases.forget_all(tx, f"{claim.lease.name}/")


async def are_unfinished(tx: Transaction, project: Project) -> bool:
    """Whether a project has imports that are not finished, and may need any of its blobs."""
    query = sa.select(_I.uid).where(_I.project_uid == project.uid, _I.state.in_(_ACTIVE)).limit(1)
    return await tx.scalar(query) is not None


async def forget_files(tx: Transaction, limit: int) -> int:
    """Forget at most `limit` names of files of finished imports; how many there were."""
    files = IMPORT_FILES.c
    there = sa.exists().where(files.import_uid == _I.uid)
    finished = await tx.scalar(sa.select(_I.uid).where(_I.state.not_in(_ACTIVE), there).limit(1))
    return await delete_some(tx, IMPORT_FILES, files.import_uid == finished, limit) if finished else 0


async def forget_leases(tx: Transaction, project_uid: str) -> None:
    """Forget who ran the imports of a project that is gone, and parts of them."""
    whole = sa.literal(LEASE_PREFIX) + _I.uid
    # First the whole ones, so that nobody takes a part any more.
    for its in (LEASES.c.name == whole, LEASES.c.name.startswith(whole + "/")):
        await tx.execute(sa.delete(LEASES).where(sa.exists().where(_I.project_uid == project_uid, its)))


async def begin(tx: Transaction, current: Import, plan: str, file_format: Format, fingerprint: str) -> ImportCounts:
    """Keep what the folder is understood to be; the counts from which it goes on.

    That is from the start, findings too, where what was saved was read otherwise: the places of images would be others.
    """
    await tx.execute(sa.delete(IMPORT_PLANS).where(IMPORT_PLANS.c.import_uid == current.uid))
    its = {"import_uid": current.uid, "project_uid": current.project_uid}
    await tx.execute(sa.insert(IMPORT_PLANS).values(its | {"plan": plan}))
    # An older replica, which stored no other, may have made the import: `format` still holds what was asked for.
    asked = sa.func.coalesce(_I.asked_format, _I.format)
    told = sa.update(IMPORTS).where(_I.uid == current.uid)
    await tx.execute(told.values(format=file_format.value, asked_format=asked, fingerprint=fingerprint))
    if current.fingerprint == fingerprint or not current.counts.read_count:
        return current.counts
    await tx.execute(sa.delete(IMPORT_PROBLEMS).where(IMPORT_PROBLEMS.c.import_uid == current.uid))
    return ImportCounts(asset_count=current.counts.asset_count)


async def add_problems(tx: Transaction, current: Import, problems: Sequence[Problem]) -> None:
    """Keep findings that follow the `problem_count` ones of `current`, up to the limit, and the first of each code."""
    first = current.counts.problem_count
    firsts = _firsts(current, problems)
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
        if first + number < MAX_PROBLEMS or number in firsts
    ]
    if rows:
        await tx.execute(sa.insert(IMPORT_PROBLEMS), rows)


def _firsts(current: Import, problems: Sequence[Problem]) -> frozenset[int]:
    """The places of those findings whose code is new."""
    places: dict[str, int] = {}
    for number, problem in enumerate(problems):
        places.setdefault(problem.finding.code, number)
    return frozenset(number for code, number in places.items() if code not in current.counts.problem_codes)


async def classes_before(tx: Transaction, project: Project, current: Import) -> Sequence[str]:
    """The names of classes in the plan of the last import before that has succeeded, in order, as many as it holds."""
    query = (
        sa.select(IMPORT_PLANS.c.plan)
        .join(IMPORTS, _I.uid == IMPORT_PLANS.c.import_uid)
        .where(_I.project_uid == project.uid, _I.position < current.position, _I.plan_only.is_(False))
        .where(_I.state == ImportState.SUCCEEDED.value)
        .order_by(_I.position.desc())
        .limit(1)
    )
    text = await tx.scalar(query)
    # It may be large, and others wait for the event loop.
    return [one["name"] for one in (await asyncio.to_thread(json.loads, text)).get("classes", ())] if text else []


def _lease_name(import_uid: str) -> str:
    return f"{LEASE_PREFIX}{import_uid}"


def _moved(now: datetime, **values: object) -> dict[str, object]:
    return {**values, "sequence": _I.sequence + 1, "update_time": now}


async def plan(tx: Transaction, import_uid: str) -> str:
    """What an import's folder is understood to be, as JSON; empty where that is not known yet."""
    return await tx.scalar(sa.select(IMPORT_PLANS.c.plan).where(IMPORT_PLANS.c.import_uid == import_uid)) or ""


async def _problems(tx: Transaction, import_uid: str) -> tuple[Problem, ...]:
    columns = IMPORT_PROBLEMS.c
    query = sa.select(IMPORT_PROBLEMS).where(columns.import_uid == import_uid).order_by(columns.number)
    return tuple(
        Problem(row.item, Finding(row.code, Severity(row.severity), row.message, row.hint, row.path))
        for row in await tx.execute(query)
    )


def _import(project: Project, row: sa.Row[Any], problems: tuple[Problem, ...], plan: str = "") -> Import:
    asked = row.format if row.asked_format is None else row.asked_format
    return Import(
        project_id=project.id,
        project_uid=row.project_uid,
        id=row.id,
        uid=row.uid,
        display_name=row.display_name,
        asked=Format(asked) if asked else None,
        format=Format(row.format) if row.format else None,
        state=ImportState(row.state),
        counts=ImportCounts(**{name: getattr(row, name) for name in _COUNTS}),
        position=row.position,
        sequence=row.sequence,
        create_time=row.create_time,
        update_time=row.update_time,
        file_list=row.file_list,
        plan_only=row.plan_only,
        strict=row.strict,
        plan=plan,
        fingerprint=row.fingerprint,
        failure=Failure(row.failure_reason, row.failure_message) if row.failure_reason else None,
        cancel_requested=row.cancel_requested,
        problems=problems,
    )
