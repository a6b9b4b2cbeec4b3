"""Creates that happen once, however often a client repeats them."""

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa
from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from bloomery_kit.database import Transaction, UtcDateTime, insert_ignore
from bloomery_kit.errors import FieldViolation, InvalidArgument
from bloomery_kit.times import Clock, utc_now

M = TypeVar("M", bound=Message)

_POOL = descriptor_pool.Default()  # type: ignore[no-untyped-call]
_NAME = "idempotency"
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


async def once(
    tx: Transaction,
    scope: str,
    request_id: str,
    request: Message,
    make: Callable[[], Awaitable[M]],
    *,
    clock: Clock = utc_now,
) -> M:
    """The answer to `request`, made at most once for each `request_id` in `scope` (method and parent).

    `make` runs in the writing transaction `tx`, which stores its answer too; a repeat gets that first answer. Of two at
    once, one waits for the other. An empty id just runs `make`. Raise InvalidArgument REQUEST_ID_REUSED if the id came
    before with another body.
    """
    if not request_id:
        return await make()
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    claim = {"scope": scope, "request_id": request_id, "digest": digest, "create_time": clock()}
    if not await insert_ignore(tx, _REQUESTS, claim):
        return await _first_answer(tx, scope, request_id, digest)
    answer = await make()
    packed = any_pb2.Any()
    packed.Pack(answer)
    await tx.execute(
        sa.update(_REQUESTS).where(*_key(scope, request_id)).values(answer=packed.SerializeToString(deterministic=True))
    )
    return answer


async def forget_requests(tx: Transaction, *, before: datetime) -> int:
    """Drop the answers older than `before`; their ids count as new from then on. Return how many there were."""
    result = await tx.execute(sa.delete(_REQUESTS).where(_REQUESTS.c.create_time < before))
    return result.rowcount


def _key(scope: str, request_id: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return _REQUESTS.c.scope == scope, _REQUESTS.c.request_id == request_id


async def _first_answer(tx: Transaction, scope: str, request_id: str, digest: bytes) -> M:
    row = (await tx.execute(sa.select(_REQUESTS.c.digest, _REQUESTS.c.answer).where(*_key(scope, request_id)))).one()
    if row.digest != digest:
        description = "was used with another body; choose a fresh one for another request"
        raise InvalidArgument([FieldViolation("request_id", description)], reason="REQUEST_ID_REUSED")
    packed = any_pb2.Any.FromString(row.answer)
    descriptor = _POOL.FindMessageTypeByName(packed.TypeName())
    answer = message_factory.GetMessageClass(descriptor)()
    packed.Unpack(answer)
    return answer  # type: ignore[return-value]
