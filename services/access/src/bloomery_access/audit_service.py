"""The audit log over gRPC: convert, call, convert."""

from datetime import UTC, datetime
from typing import Any

import grpc
import sqlalchemy as sa
from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp

from bloomery.access.v1 import (
    AuditEntry,
    AuditServiceServicer,
    ListAuditEntriesRequest,
    ListAuditEntriesResponse,
    RecordAuditEntriesRequest,
)
from bloomery_access.model import AuditFilter
from bloomery_access.store import audit, projects
from bloomery_access.store.audit import FAILED, UNFINISHED, Place
from bloomery_kit.auth import Role
from bloomery_kit.context import current_principal
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.names import Pattern
from bloomery_kit.pages import PageRequest
from bloomery_kit.times import to_timestamp

SERVICE = "bloomery.access.v1.AuditService"
ALL = "projects/-"
_PROJECT = Pattern("projects/{project}")
_MOST = 500
_LONGEST = 4096
_INDEXED, _LONGEST_INDEXED = ("subject", "project"), 512
"""Callers choose these texts, and PostgreSQL refuses a row of more than 2704 bytes in an index."""
_OUTCOMES = {code.name for code in grpc.StatusCode} | {FAILED, UNFINISHED}
_TEXTS = (
    *("uid", "subject", "authentication", "method", "resource", "project", "project_uid", "request_id", "trace_id"),
    *("code", "reason", "address", "forwarded_for", "summary"),
)
_TIMES = ("start_time", "end_time")
_AGES = (datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))


class AuditServicer(AuditServiceServicer):
    """Takes entries of services, and shows them to admins."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def RecordAuditEntries(self, request: RecordAuditEntriesRequest, _context: object) -> Empty:
        """See the contract."""
        violations = Violations()
        if len(request.entries) > _MOST:
            violations.add("entries", f"has {len(request.entries)} entries; at most {_MOST} fit into a call")
        for number, entry in enumerate(request.entries[:_MOST]):
            _check(entry, f"entries[{number}]", violations)
        violations.raise_if_any()
        await self.record(request.entries)
        return Empty()

    async def record(self, entries: Any) -> None:
        """Keep checked entries, of which some may be there."""
        rows = [_row(entry) for entry in entries]
        async with self._db.write() as tx:
            await audit.record(tx, rows)

    async def ListAuditEntries(self, request: ListAuditEntriesRequest, _context: object) -> ListAuditEntriesResponse:
        """See the contract."""
        page = PageRequest.parse(request.page_size, request.page_token, request, default=100)
        wanted, after = _filter(request), _place(page)
        async with self._db.read() as tx:
            if wanted.project and not current_principal().may(Role.ADMIN):
                # What was done in an earlier project of this name is none of the present one's admins' business.
                begun = await audit.begun(tx, wanted.project, await _uid(tx, wanted.project))
                wanted = wanted.since(begun) if begun else wanted
            found = await audit.page(tx, wanted, after, page.size + 1)
        shown = found[: page.size]
        token = ""
        if len(found) > page.size:
            token = page.next_token((shown[-1].time.isoformat(), shown[-1].uid))
        return ListAuditEntriesResponse(entries=map(_message, shown), next_page_token=token)


def _check(entry: AuditEntry, field: str, violations: Violations) -> None:
    if not entry.uid:
        violations.add(f"{field}.uid", "is required")
    if _time(entry.time) is None or not entry.HasField("time"):
        violations.add(f"{field}.time", "must be a time from 2000 to 9000")
    for name in _TEXTS:
        text = getattr(entry, name)
        if len(text) > _LONGEST or "\0" in text:
            violations.add(f"{field}.{name}", f"must have at most {_LONGEST} characters, none of them NUL")


def _filter(request: ListAuditEntriesRequest) -> AuditFilter:
    violations = Violations()
    if request.parent != ALL:
        _PROJECT.check(request.parent, "parent", violations)
    if request.outcome and request.outcome not in _OUTCOMES:
        violations.add("outcome", f"must be the name of a code, {FAILED} or {UNFINISHED}")
    for name in ("subject", "method"):
        if len(getattr(request, name)) > _LONGEST or "\0" in getattr(request, name):
            violations.add(name, f"must have at most {_LONGEST} characters, none of them NUL")
    given = {field.name: _time(value) for field, value in request.ListFields() if field.name in _TIMES}
    for name, time in given.items():
        if time is None:
            violations.add(name, "must be a time from 2000 to 9000")
    violations.raise_if_any()
    project = "" if request.parent == ALL else request.parent
    start, end = map(given.get, _TIMES)
    return AuditFilter(project, start, end, request.subject, request.method, request.outcome)


async def _uid(tx: Transaction, project: str) -> str:
    project_id = _PROJECT.parse(project)["project"]
    return (await projects.uids(tx, [project_id])).get(project_id, "")


def _place(page: PageRequest) -> Place | None:
    if page.cursor is None:
        return None
    try:
        time, uid = page.cursor
        return datetime.fromisoformat(str(time)), str(uid)
    except ValueError as error:
        description = "is not a token of this request; start without one"
        raise InvalidArgument([FieldViolation("page_token", description)], reason="PAGE_TOKEN_INVALID") from error


def _time(timestamp: Timestamp) -> datetime | None:
    try:
        time = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return time if _AGES[0] <= time < _AGES[1] else None


def _row(entry: AuditEntry) -> dict[str, object]:
    texts = {name: getattr(entry, name) for name in _TEXTS}
    return texts | {name: texts[name][:_LONGEST_INDEXED] for name in _INDEXED} | {"time": _time(entry.time)}


def _message(row: sa.Row[Any]) -> AuditEntry:
    return AuditEntry(time=to_timestamp(row.time), **{name: getattr(row, name) for name in _TEXTS})
