"""What all methods of the servicer share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bloomery.annotation.v1 import AnnotationServiceServicer
from bloomery_annotation.accounts import Accounts
from bloomery_annotation.blobs import Uploads
from bloomery_annotation.model import Project
from bloomery_annotation.names import MAIN_SET, PROJECT
from bloomery_annotation.reading import Moment
from bloomery_annotation.store import projects
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.feeds import Notifier
from bloomery_kit.names import validate_id
from bloomery_kit.pages import PageRequest
from bloomery_kit.quotas import UNLIMITED, Quotas
from bloomery_kit.times import Clock


@dataclass(frozen=True)
class Parts:
    """What the servicer works with. `changed` wakes who watches an import, by its uid, and the runners of imports."""

    db: Database
    accounts: Accounts
    uploads: Uploads
    changed: Notifier
    draining: asyncio.Event
    clock: Clock
    max_blob_bytes: int
    quotas: Quotas = UNLIMITED


class Methods(AnnotationServiceServicer):
    """Base of the methods of each noun."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @asynccontextmanager
    async def _read(self, parent: str, field: str = "parent") -> AsyncIterator[tuple[Transaction, Project]]:
        project_id = PROJECT.parse(parent, field)["project"]
        async with self._parts.db.read() as tx:
            yield tx, await projects.find(tx, project_id)

    @asynccontextmanager
    async def _write(self, project_id: str) -> AsyncIterator[tuple[Transaction, Project]]:
        async with self._parts.db.write() as tx:
            yield tx, await projects.lock(tx, project_id)


def moment_of(parent: str, read_sequence: int, after: str, set_id: str = MAIN_SET) -> Moment:
    """The moment of a project that a stream reads, checked."""
    violations = Violations()
    ids = PROJECT.check(parent, "parent", violations)
    if read_sequence < 0:
        violations.add("read_sequence", "must not be negative; 0 is the newest")
    if after:
        validate_id(after, "after", violations)
    validate_id(set_id, "annotation_set", violations)
    violations.raise_if_any()
    assert ids is not None
    return Moment(ids["project"], read_sequence, after, set_id)


def number_cursor(page: PageRequest) -> int | None:
    """The cursor of a page that is ordered by one number."""
    numbers = numbers_cursor(page, 1)
    return numbers[0] if numbers else None


def numbers_cursor(page: PageRequest, parts: int) -> tuple[int, ...]:
    """The cursor of a page that is ordered by numbers; empty for the first page."""
    numbers = tuple(part for part in page.cursor or () if isinstance(part, int))
    if len(numbers) != len(page.cursor or ()) or (numbers and len(numbers) != parts):
        raise _not_ours()
    return numbers


def text_cursor(page: PageRequest, parts: int) -> tuple[str, ...] | None:
    """The cursor of a page that is ordered by texts."""
    if page.cursor is None:
        return None
    texts = tuple(part for part in page.cursor if isinstance(part, str))
    if len(texts) != parts or len(page.cursor) != parts:
        raise _not_ours()
    return texts


def _not_ours() -> InvalidArgument:
    description = "is not a token of this request; start without one"
    return InvalidArgument([FieldViolation("page_token", description)], reason="PAGE_TOKEN_INVALID")
