"""Aliases: which version of a model one names, moved by one at a time, with a history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bloomery_inference.convert import version_name
from bloomery_inference.model import Alias, AliasChange, Figure, ModelVersion
from bloomery_inference.moves import Move, check_move
from bloomery_inference.names import ALIAS, MODEL, parse_selector
from bloomery_inference.outdoing import Outdoing, Outdone
from bloomery_inference.promotion import figures, refuse
from bloomery_inference.registry import page_of
from bloomery_inference.serving.holding import check_unfollowed
from bloomery_inference.store import aliases, evaluations, models
from bloomery_inference.store.aliases import Change
from bloomery_kit.context import current_principal
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import Aborted, FailedPrecondition, NotFound, PreconditionViolation, Violations
from bloomery_kit.fields import check_text
from bloomery_kit.idempotency import Repeatable
from bloomery_kit.pages import PageRequest
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.inference.v1 import ModelAlias

_LIST = "list the aliases of the model"
_DEPLOY = "move it with `bloomery deploy update {{id}} --model {version}`"


class Aliases:
    """Aliases in the database; whoever changes one holds the lock of its model."""

    def __init__(self, db: Database, outdoing: Outdoing, *, clock: Clock = utc_now) -> None:
        self._db = db
        self._outdoing = outdoing
        self._clock = clock

    async def get(self, name: str) -> Alias:
        """An alias. Raise NotFound."""
        ids = ALIAS.parse(name)
        async with self._db.read() as tx:
            found = await aliases.get(tx, ids["project"], ids["model"], ids["alias"])
        if found is None:
            raise NotFound("alias", name, hint=_LIST)
        return found

    async def page(self, page: PageRequest, parent: str) -> tuple[list[Alias], str]:
        """One page of a model's aliases and the next page's token."""
        ids = MODEL.parse(parent, "parent")
        after = str(page.cursor[0]) if page.cursor else ""
        async with self._db.read() as tx:
            found = await aliases.page(tx, ids["project"], ids["model"], after=after, limit=page.size + 1)
        return page_of(found, page, lambda alias: (alias.id,))

    async def changes(self, page: PageRequest, parent: str) -> tuple[list[AliasChange], str]:
        """One page of what became of an alias, the last first, and the next page's token."""
        ids = ALIAS.parse(parent, "parent")
        before = int(str(page.cursor[0])) if page.cursor else None
        async with self._db.read() as tx:
            found = await aliases.changes(
                tx, ids["project"], ids["model"], ids["alias"], before=before, limit=page.size + 1
            )
        return page_of(found, page, lambda change: (change.sequence,))

    async def move(
        self, move: Move, repeatable: Repeatable[ModelAlias], answer: Callable[[Alias], ModelAlias]
    ) -> ModelAlias:
        """Let an alias name a version, and `answer` with it.

        Raise NotFound, InvalidArgument, Aborted ALIAS_MOVED, FailedPrecondition CONDITION_NOT_MET, VERSION_INACTIVE or
        ALIAS_DEPLOYED.
        """
        check_move(move)
        answered = await repeatable.first_answer(self._db)
        if answered is not None:
            return answered
        # Before the transaction, as it takes seconds and asks others.
        outdone = await self._outdoing.of(move) if move.if_better else None
        async with self._db.write() as tx:

            async def make() -> ModelAlias:
                return answer(await self._move(tx, move, outdone))

            return await repeatable.once(tx, make)

    async def _move(self, tx: Transaction, move: Move, outdone: Outdone | None) -> Alias:
        ids = ALIAS.parse(move.name)
        model_uid, version = await locked_version(tx, outdone.version if outdone else move.model_version)
        check_active(version)
        now = await aliases.get(tx, ids["project"], ids["model"], ids["alias"])
        if outdone:
            # What was compared is what is named still.
            _check_place(move.name, now, outdone.before)
        measured, failures = await _figures(tx, version, move)
        refuse(version, [*failures, *([outdone.failure] if outdone and outdone.failure else [])])
        if now and now.number == version.number:
            return replace(now, figures=measured)
        await check_unfollowed(tx, model_uid, ids["alias"], _DEPLOY.format(version=version.title))
        _check_place(move.name, now, move.expected)
        found = outdone.comparison if outdone else None
        change = Change(current_principal().subject, move.reason, self._clock(), measured, found)
        await aliases.put(tx, model_uid, ids["alias"], version, change)
        made = await aliases.get(tx, ids["project"], ids["model"], ids["alias"])
        assert made is not None
        return made

    async def remove(self, name: str, *, expected: int | None, reason: str) -> None:
        """Forget an alias. Raise NotFound, InvalidArgument, Aborted ALIAS_MOVED, FailedPrecondition ALIAS_DEPLOYED."""
        ids = ALIAS.parse(name)
        violations = Violations()
        check_text(reason, "reason", violations)
        violations.raise_if_any()
        async with self._db.write() as tx:
            model_uid = await models.lock_model(tx, ids["project"], ids["model"])
            now = await aliases.get(tx, ids["project"], ids["model"], ids["alias"])
            if model_uid is None or now is None:
                raise NotFound("alias", name, hint="it is gone already")
            await check_unfollowed(tx, model_uid, now.id, "delete the deployment first")
            _check_place(name, now, expected)
            change = Change(current_principal().subject, reason, self._clock())
            await aliases.remove(tx, model_uid, now.id, change)


async def locked_version(tx: Transaction, name: str, field: str = "model_version") -> tuple[str, ModelVersion]:
    """The uid of a version's model, whose aliases stay as they are until `tx` ends, and the version."""
    selector = parse_selector(name, field)
    model_uid = await models.lock_model(tx, selector.project, selector.model)
    version = await models.get_version(tx, selector)
    if model_uid is None or version is None:
        raise NotFound("model version", name, hint="list the versions of the model")
    return model_uid, version


def check_active(version: ModelVersion) -> None:
    """Raise FailedPrecondition VERSION_INACTIVE."""
    if version.active:
        return
    name, fix = version_name(version), "make it active first"
    message = f"{name} is inactive, and no alias or deployment may name it; {fix}"
    raise FailedPrecondition("VERSION_INACTIVE", message, [PreconditionViolation("VERSION_INACTIVE", name, fix)])


async def _figures(
    tx: Transaction, version: ModelVersion, move: Move
) -> tuple[tuple[Figure, ...], list[PreconditionViolation]]:
    measured = await evaluations.of_version(tx, version.uid) if move.conditions else []
    return figures(version, measured, move.conditions, move.dataset_version)


def _check_place(name: str, now: Alias | None, expected: int | None) -> None:
    """Raise Aborted ALIAS_MOVED where an alias is not where the caller believes."""
    number = now.number if now else 0
    if expected is None or expected == number:
        return
    where = (
        f"names version {now.number}, where {now.updater} put it at {now.update_time:%Y-%m-%d %H:%M:%S} UTC"
        if now
        else "is not there"
    )
    message = f"{name} {where}, instead of version {expected}" if expected else f"{name} {where}"
    raise Aborted("ALIAS_MOVED", f"{message}; read it again and decide anew", {"version": str(number)})
