"""Creates that happen once, however often a client repeats them."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import sqlalchemy as sa
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from bloomery_kit.context import principal_var
from bloomery_kit.database import Database, Transaction, UtcDateTime, insert_ignore
from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_request_id
from bloomery_kit.times import Clock, utc_now

M = TypeVar("M", bound=Message)

_POOL = descriptor_pool.Default()  # type: ignore[no-untyped-call]
_NAME = "idempotency"
_FORGOTTEN_AT_ONCE = 10_000
_REQUESTS = sa.table(
    _NAME,
    sa.column("scope", sa.String),
    sa.column("request_id", sa.String),
    sa.column("digest", sa.LargeBinary),
    sa.column("answer", sa.LargeBinary),
    sa.column("create_time", UtcDateTime),
)


def idempotency_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table that holds the first answer to every request id."""
    return sa.Table(
        _NAME,
        metadata,
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("create_time", UtcDateTime, nullable=False, index=True),
    )


class Repeated(Protocol):
    """A request that carries the id by which a repeat is known."""

    request_id: str

    def SerializeToString(self, *, deterministic: bool = ...) -> bytes:  # noqa: N802 - protobuf's name
        """The bytes that a repeat must have as well."""
        ...


class Repeatable(Generic[M]):
    """One call of a method that makes something at most once for each `request_id`; `answer` is what it answers with.

    Ids count within the method, the parent and the caller. Without an id every call makes one.
    """

    def __init__(self, method: str, parent: str, request: Repeated, *, clock: Clock = utc_now) -> None:
        self._scope = f"{method} {parent} {_caller()}"
        self._request = request
        self._clock = clock

    async def first_answer(self, db: Database) -> M | None:
        """The answer that this request was given before; to be asked before anything else is looked at.

        The world has moved since: limits are reached and inputs gone that were there for the first call. Raise
        InvalidArgument for an id that cannot be stored, or REQUEST_ID_REUSED if it came before with another body.
        """
        violations = Violations()
        check_request_id(self._request.request_id, violations)
        violations.raise_if_any()
        # The parent was not looked at yet; one with NUL is no resource's, and no database takes it.
        if not self._request.request_id or "\0" in self._scope:
            return None
        async with db.read() as tx:
            return await self._stored(tx)

    async def once(self, tx: Transaction, make: Callable[[], Awaitable[M]]) -> M:
        """The first answer, or that of `make`, which runs in the writing transaction `tx` that stores its answer too.

        Of two at once, one waits for the other. Raise InvalidArgument REQUEST_ID_REUSED.
        """
        if not self._request.request_id:
            return await make()
        claim = {"scope": self._scope, "request_id": self._request.request_id}
        if not await insert_ignore(tx, _REQUESTS, claim | {"digest": self._digest, "create_time": self._clock()}):
            stored: M | None = await self._stored(tx)
            assert stored is not None
            return stored
        answer = await make()
        packed = any_pb2.Any()
        packed.Pack(answer)
        values = {"answer": packed.SerializeToString(deterministic=True)}
        await tx.execute(sa.update(_REQUESTS).where(*self._key).values(values))
        return answer

    @property
    def _key(self) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
        return _REQUESTS.c.scope == self._scope, _REQUESTS.c.request_id == self._request.request_id

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(self._request.SerializeToString(deterministic=True)).digest()

    async def _stored(self, tx: Transaction) -> M | None:
        query = sa.select(_REQUESTS.c.digest, _REQUESTS.c.answer).where(*self._key)
        row = (await tx.execute(query)).one_or_none()
        if row is None:
            return None
        if row.digest != self._digest:
            description = "was used with another body; choose a fresh one for another request"
            raise InvalidArgument([FieldViolation("request_id", description)], reason="REQUEST_ID_REUSED")
        packed = any_pb2.Any.FromString(row.answer)
        descriptor = _POOL.FindMessageTypeByName(packed.TypeName())
        answer = message_factory.GetMessageClass(descriptor)()
        packed.Unpack(answer)
        return answer  # type: ignore[return-value]


async def forget_requests(tx: Transaction, *, before: datetime) -> int:
    """Drop the oldest answers, older than `before`; their ids count as new from then on. Return how many there were.

    Not more than one short transaction can: call it again and again, now and then.
    """
    key, created = (_REQUESTS.c.scope, _REQUESTS.c.request_id), _REQUESTS.c.create_time
    old = sa.select(*key).where(created < before).order_by(created).limit(_FORGOTTEN_AT_ONCE)
    result = await tx.execute(sa.delete(_REQUESTS).where(sa.tuple_(*key).in_(old)))
    return result.rowcount


async def forget_answers(tx: Transaction, parent: str) -> None:
    """Drop the answers about what was made under `parent`, which is being deleted: its name may be given again."""
    await tx.execute(sa.delete(_REQUESTS).where(_REQUESTS.c.scope.contains(f" {parent} ", autoescape=True)))


def _caller() -> str:
    principal = principal_var.get()
    return principal.subject if principal else ""
