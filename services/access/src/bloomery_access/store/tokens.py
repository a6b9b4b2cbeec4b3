"""Tokens, without their secrets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bloomery_access.model import Token
from bloomery_access.store.tables import TOKENS
from bloomery_kit.auth import Role
from bloomery_kit.database import Transaction
from bloomery_kit.sequences import next_sequence

_T = TOKENS.c
_SEQUENCE = "tokens"


async def insert(tx: Transaction, token: Token) -> None:
    """Add a token."""
    row = {
        "id": token.id,
        "ordinal": await next_sequence(tx, _SEQUENCE),
        "digest": token.digest,
        "display_name": token.display_name,
        "subject": token.subject,
        "group_names": list(token.groups),
        "role": token.role.value,
        "projects": None if token.projects is None else list(token.projects),
        "creator": token.creator,
        "lineage": token.lineage,
        "create_time": token.create_time,
        "expire_time": token.expire_time,
    }
    await tx.execute(sa.insert(TOKENS).values(row))


async def get(tx: Transaction, token_id: str) -> Token | None:
    """A token by its id."""
    row = (await tx.execute(sa.select(TOKENS).where(_T.id == token_id))).one_or_none()
    return _token(row) if row else None


async def page(
    tx: Transaction, *, root: Token | None, of: str | None, subject: str | None, before: int | None, size: int
) -> list[tuple[int, Token]]:
    """Tokens, the newest first, each with its place: those of somebody who has or made them, or all.

    With a `root` that one and what was made with it alone.
    """
    query = sa.select(TOKENS).order_by(_T.ordinal.desc()).limit(size)
    if root is not None:
        query = query.where(_with_heirs(root))
    if of is not None:
        query = query.where(sa.or_(_T.subject == of, _T.creator == of))
    if subject is not None:
        query = query.where(_T.subject == subject)
    if before is not None:
        query = query.where(_T.ordinal < before)
    return [(row.ordinal, _token(row)) for row in await tx.execute(query)]


async def count_valid(tx: Transaction, creator: str, now: datetime) -> int:
    """How many that somebody made are not refused."""
    query = sa.select(sa.func.count()).where(_T.creator == creator, _T.revoke_time.is_(None), _T.expire_time > now)
    return int(await tx.scalar(query) or 0)


async def revoke(tx: Transaction, token: Token, now: datetime) -> None:
    """Refuse a token, and what was made with it, from now on."""
    concerned = sa.update(TOKENS).where(_with_heirs(token), _T.revoke_time.is_(None))
    await tx.execute(concerned.values(revoke_time=now))


async def all_hold(tx: Transaction, ids: Sequence[str]) -> bool:
    """Whether none of these tokens was revoked, or is forgotten since."""
    query = sa.select(sa.func.count()).where(_T.id.in_(ids), _T.revoke_time.is_(None))
    return not ids or await tx.scalar(query) == len(ids)


async def note_use(tx: Transaction, token_id: str, now: datetime) -> None:
    """Remember that a token is in use."""
    await tx.execute(sa.update(TOKENS).where(_T.id == token_id).values(last_use_time=now))


async def forget(tx: Transaction, *, before: datetime, limit: int) -> int:
    """Drop tokens that ended before; how many there were."""
    ended = sa.select(_T.id).where(sa.or_(_T.expire_time < before, _T.revoke_time < before)).limit(limit)
    return (await tx.execute(sa.delete(TOKENS).where(_T.id.in_(ended)))).rowcount


def _with_heirs(token: Token) -> sa.ColumnElement[bool]:
    return sa.or_(_T.id == token.id, _T.lineage.startswith(token.heirs))


def _token(row: sa.Row[Any]) -> Token:
    return Token(
        id=row.id,
        digest=row.digest,
        display_name=row.display_name,
        subject=row.subject,
        groups=tuple(row.group_names),
        role=Role(row.role),
        projects=None if row.projects is None else tuple(row.projects),
        creator=row.creator,
        lineage=row.lineage,
        create_time=row.create_time,
        expire_time=row.expire_time,
        last_use_time=row.last_use_time,
        revoke_time=row.revoke_time,
    )
