"""The two layers of the audit log: outside of the credentials what they refused, inside of them what was let in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.protobuf.message import Message

from bloomery_kit.audit._entries import Entry, Outcome
from bloomery_kit.audit._log import AuditLog
from bloomery_kit.audit._summary import summary
from bloomery_kit.context import principal_var, request_id, trace_id
from bloomery_kit.errors import NotFound, PermissionDenied, Unauthenticated, error_info, to_status
from bloomery_kit.names import new_uid
from bloomery_kit.permissions import mutates, resource_of
from bloomery_kit.pipeline import Call, code_name


class AuditLayers:
    """Writes what people do to the services of a server into the log of each service."""

    def __init__(self) -> None:
        self._logs: dict[str, AuditLog] = {}

    def add(self, service: str, log: AuditLog) -> None:
        """Write the calls of a service, given by its full name, into a log."""
        self._logs[service] = log

    @asynccontextmanager
    async def refusals(self, call: Call) -> AsyncIterator[None]:
        """Write calls that the layers inside refuse for their credentials.

        A project that is none of the caller's business is NotFound.
        """
        try:
            yield
        except (PermissionDenied, Unauthenticated, NotFound) as error:
            log = self._log_of(call)
            if log is not None and not call.recorded and not call.by_service:
                entry = _entry(call)
                log.refuse(entry, _failed(entry, error))
            raise

    @asynccontextmanager
    async def calls(self, call: Call) -> AsyncIterator[None]:
        """Write a person's call before its work begins, and how it ended."""
        log = self._log_of(call)
        # What a service does for a person was written where the person came in.
        if log is None or call.by_service:
            yield
            return
        entry = _entry(call)
        await log.begin(entry)
        call.recorded = True
        try:
            yield
        except BaseException as error:
            log.end(_failed(entry, error))
            raise
        log.end(_done(entry, call.response))

    def _log_of(self, call: Call) -> AuditLog | None:
        return self._logs.get(call.method.split("/")[1]) if mutates(call.method) else None


def _entry(call: Call) -> Entry:
    principal = principal_var.get()
    request = call.request if isinstance(call.request, Message) else None
    resource = resource_of(call.method, request) or _name_in(request) if request is not None else ""
    return Entry(
        uid=new_uid(),
        subject=principal.subject if principal else "",
        authentication=":".join(filter(None, (principal.means, principal.token))) if principal else "",
        method=call.method,
        resource=resource,
        project=_project(resource),
        project_uid="",
        request_id=request_id(),
        trace_id=trace_id(),
        address=call.context.peer(),
        forwarded_for=str(call.metadata.get("x-forwarded-for", "")),
        summary=summary(request) if request is not None else "",
    )


def _failed(entry: Entry, error: BaseException) -> Outcome:
    if isinstance(error, Exception):
        status = to_status(error)
        return Outcome(entry.uid, code_name(status.code), error_info(status).reason)
    return Outcome(entry.uid, "CANCELLED" if isinstance(error, asyncio.CancelledError) else "UNKNOWN")


def _done(entry: Entry, response: object) -> Outcome:
    name, uid = getattr(response, "name", ""), getattr(response, "uid", "")
    if not isinstance(name, str) or not isinstance(uid, str):
        return Outcome(entry.uid, "OK")
    project = _project(name)
    return Outcome(entry.uid, "OK", "", name, project, uid if name == project else "")


def _name_in(request: Message) -> str:
    """The name that a request about no single project has in it, or in one of its messages."""
    inside = (value for field, value in request.ListFields() if field.message_type and not field.is_repeated)
    names = (getattr(message, "name", "") for message in (request, *inside))
    return next((name for name in names if isinstance(name, str) and name), "")


def _project(resource: str) -> str:
    parts = resource.split("/")
    return "/".join(parts[:2]) if parts[0] == "projects" and len(parts) > 1 else ""
