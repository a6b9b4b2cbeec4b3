"""The registry of models: what the servicer does, without protobuf of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from bloomery_inference.convert import is_source, model_etag, variant_name, version_name
from bloomery_inference.deletion import forget_model, forget_version, keys_of
from bloomery_inference.housekeeping import CLEANUPS
from bloomery_inference.model import Cleanup, Model, ModelVersion, Origin, Variant
from bloomery_inference.names import MODEL, VARIANT, Selector, check_lasting, parse_selector
from bloomery_inference.releasing import Releasing
from bloomery_inference.serving.holding import check_undeployed, check_unused
from bloomery_inference.store import cleanups, models, results, variants
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import FailedPrecondition, NotFound, PreconditionViolation
from bloomery_kit.etags import check_etag
from bloomery_kit.feeds import Notifier
from bloomery_kit.pages import Cursor, PageRequest
from bloomery_kit.times import Clock, utc_now

T = TypeVar("T")


class Registry:
    """Models, versions and variants in the database; `changed` is told what to clean up."""

    def __init__(
        self,
        db: Database,
        *,
        releasing: Releasing,
        changed: Notifier,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._releasing = releasing
        self._changed = changed
        self._clock = clock

    async def get_model(self, name: str) -> Model:
        """A model. Raise NotFound."""
        ids = MODEL.parse(name)
        async with self._db.read() as tx:
            model = await models.get_model(tx, ids["project"], ids["model"])
        if model is None:
            raise NotFound("model", name, hint="list the models")
        return model

    async def list_models(
        self, page: PageRequest, *, project: str | None, model_id: str | None
    ) -> tuple[list[Model], str, int]:
        """One page of models, the next page's token and how many there are."""
        after = (str(page.cursor[0]), str(page.cursor[1])) if page.cursor else None
        async with self._db.read() as tx:
            found = await models.list_models(tx, project=project, model_id=model_id, after=after, limit=page.size + 1)
            total = await models.count_models(tx, project=project, model_id=model_id)
        shown, token = page_of(found, page, lambda model: (model.project, model.id))
        return shown, token, total

    async def update_model(self, name: str, etag: str, values: Mapping[str, object]) -> Model:
        """Change a model's own fields. Raise NotFound or EtagMismatch."""
        ids = MODEL.parse(name, "model.name")
        async with self._db.write() as tx:
            # Who waits for another update here sees what it made.
            await models.lock_model(tx, ids["project"], ids["model"])
            model = await models.get_model(tx, ids["project"], ids["model"])
            if model is None:
                raise NotFound("model", name, hint="list the models")
            check_etag(etag, model_etag(model), name)
            return await models.update_model(tx, model, values, self._clock()) if values else model

    async def get_version(self, name: str, field: str = "name") -> ModelVersion:
        """A version with its variants, without its aliases. Raise NotFound."""
        async with self._db.read() as tx:
            return await version_in(tx, name, field)

    async def describe_version(self, name: str) -> ModelVersion:
        """A version with all that is known of it. Raise NotFound."""
        async with self._db.read() as tx:
            return await models.name_version(tx, await version_in(tx, name))

    async def find_version(self, job: str, job_uid: str) -> ModelVersion:
        """The version that a job made. Raise NotFound, or FailedPrecondition RESULT_REFUSED where none will come."""
        async with self._db.read() as tx:
            version = await models.find_version(tx, job, job_uid)
            if version:
                return version
            refusal = await results.refusal(tx, job, job_uid)
            parked = await results.parking(tx, job, job_uid)
        if refusal is not None:
            raise _refused(job, refusal)
        if parked is not None:
            raise NotFound("model version", job, hint=f"recording it is tried again and again until it works: {parked}")
        raise NotFound("model version", job, hint="it is recorded some moments after its job has succeeded")

    async def list_versions(
        self, page: PageRequest, *, project: str | None, model_id: str | None, inactive: bool, origin: Origin | None
    ) -> tuple[list[ModelVersion], str]:
        """One page of versions, also `inactive` ones or not, newest first, and the next page's token.

        With `origin`, only of those that come from there.
        """
        before = int(str(page.cursor[0])) if page.cursor else None
        async with self._db.read() as tx:
            versions = await models.list_versions(
                tx,
                project=project,
                model_id=model_id,
                before=before,
                limit=page.size + 1,
                inactive=inactive,
                origin=origin,
            )
        return page_of(versions, page, lambda version: (version.ordinal,))

    async def delete_version(self, name: str) -> None:
        """Forget a version with its variants; their files go later.

        Raise NotFound, InvalidArgument where the name may mean another one later, FailedPrecondition
        VERSION_HAS_ALIASES or DEPLOYED.
        """
        check_lasting(name)
        version = await self.get_version(name)
        async with self._db.write() as tx:
            await models.lock_model(tx, version.project, version.model)
            check_nameless(await models.name_version(tx, version))
            await check_undeployed(tx, version_name(version), await variants.uids_of_version(tx, version.uid))
            left = await forget_version(tx, version)
            if left is None:
                raise NotFound("model version", name, hint="it is gone already")
        self._changed.notify(CLEANUPS)
        await self._releasing.release_at_once([left])

    async def delete_model(self, name: str) -> None:
        """Forget a model with its versions and their variants; their files go soon after.

        Raise NotFound, FailedPrecondition DEPLOYED.
        """
        ids = MODEL.parse(name)
        async with self._db.write() as tx:
            await models.lock_model(tx, ids["project"], ids["model"])
            model = await models.get_model(tx, ids["project"], ids["model"])
            if model is None:
                raise NotFound("model", name, hint="it is gone already")
            await check_unused(tx, name, model.uid)
            left = await forget_model(tx, model)
        self._changed.notify(CLEANUPS)
        await self._releasing.release_at_once(left)

    async def get_variant(self, name: str) -> Variant:
        """A variant. Raise NotFound."""
        ids = VARIANT.parse(name)
        async with self._db.read() as tx:
            version = await models.get_version(tx, Selector(ids["project"], ids["model"], ids["version"]))
        for variant in version.variants if version else ():
            if variant.id == ids["variant"]:
                return variant
        raise NotFound("model variant", name, hint="list the variants of the version, or make it with an optimization")

    async def delete_variant(self, name: str) -> None:
        """Forget a variant; its files go soon after.

        Raise NotFound, InvalidArgument for "latest" and aliases, FailedPrecondition DEPLOYED or VARIANT_IS_SOURCE.
        """
        check_lasting(name.partition("/variants/")[0])
        variant = await self.get_variant(name)
        check_spare(await self.get_version(name.partition("/variants/")[0]), variant)
        async with self._db.write() as tx:
            await models.lock_model(tx, variant.project, variant.model)
            await check_undeployed(tx, name, [variant.uid])
            if not await variants.delete(tx, variant.uid):
                raise NotFound("model variant", name, hint="it is gone already")
            await cleanups.leave(tx, Cleanup(keys_of(variant)))
        self._changed.notify(CLEANUPS)


async def version_in(tx: Transaction, name: str, field: str = "name") -> ModelVersion:
    """The version that `tx` finds under a name, without its aliases. Raise NotFound."""
    selector = parse_selector(name, field)
    version = await models.get_version(tx, selector)
    if version is None:
        hint = "list the versions of the model" + ("" if selector.is_lasting else ", and its aliases")
        raise NotFound("model version", name, hint=hint)
    return version


def check_spare(version: ModelVersion, variant: Variant) -> None:
    """Raise FailedPrecondition where a variant is the model itself, which came as it and has no checkpoint."""
    if is_source(version, variant):
        fix = "delete the version"
        message = f"{variant_name(variant)} is all that there is of its model; {fix}"
        violation = PreconditionViolation("VARIANT_IS_SOURCE", variant_name(variant), fix)
        raise FailedPrecondition("VARIANT_IS_SOURCE", message, [violation])


def check_nameless(version: ModelVersion) -> None:
    """Raise FailedPrecondition where aliases name a version that is to go: who uses them would find nothing."""
    if not version.aliases:
        return
    fix = "move or delete the alias first"
    name = version_name(version)
    message = f"{name} is named by {', '.join(version.aliases)}; {fix}"
    subjects = [
        f"{MODEL.format(project=version.project, model=version.model)}/aliases/{one}" for one in version.aliases
    ]
    violations = [PreconditionViolation("VERSION_HAS_ALIASES", subject, fix) for subject in subjects]
    raise FailedPrecondition("VERSION_HAS_ALIASES", message, violations)


def _refused(job: str, reason: str) -> FailedPrecondition:
    fix = "the job's files are kept until it is deleted; mend the recipe and train again"
    message = f"the result of {job} makes no model version: {reason}; {fix}"
    return FailedPrecondition("RESULT_REFUSED", message, [PreconditionViolation("RESULT_REFUSED", job, fix)])


def page_of(items: list[T], page: PageRequest, cursor: Callable[[T], Cursor]) -> tuple[list[T], str]:
    """Those of one item too many that are on a page, and the next page's token."""
    shown = items[: page.size]
    return shown, page.next_token(cursor(shown[-1])) if len(items) > page.size else ""
