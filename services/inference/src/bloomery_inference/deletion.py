"""What goes with models, versions and variants that are deleted: their rows at once, the rest later."""

from bloomery_inference.model import Cleanup, Model, ModelVersion, Variant
from bloomery_inference.names import MODEL, PROJECT
from bloomery_inference.store import aliases, cleanups, deployments, evaluations, models, variants
from bloomery_kit.database import Transaction
from bloomery_kit.idempotency import forget_answers


async def forget_model(tx: Transaction, model: Model) -> list[Cleanup]:
    """Forget a locked model with all that it has, its deployments too; what is left to clean up."""
    for deployment in await deployments.of_model(tx, model.uid):
        await deployments.delete(tx, deployment)
        await deployments.change_plan(tx, deployment.runtime)
    await aliases.delete_all(tx, model.uid)
    left = [await forget_version(tx, version) for version in await models.of_model(tx, model.uid)]
    await models.delete_model(tx, model.uid)
    await cleanups.leave(tx, hold_of(model))
    await forget_answers(tx, MODEL.format(project=model.project, model=model.id))
    return [*filter(None, left), hold_of(model)]


async def forget_version(tx: Transaction, version: ModelVersion) -> Cleanup | None:
    """Forget a version whose model is locked; what is left to clean up, None where it is gone already."""
    if not await models.lock_version(tx, version.uid):
        return None
    made = await variants.of_version(tx, version.uid)
    await variants.delete_all(tx, version.uid)
    await evaluations.delete_all(tx, version.uid)
    await models.delete_version(tx, version)
    left = _left_behind(version, made)
    await cleanups.leave(tx, left)
    return left


def _left_behind(version: ModelVersion, made: tuple[Variant, ...]) -> Cleanup:
    keys = [artifact.logical_key for artifact in version.content.artifacts]
    keys += [key for variant in made for key in keys_of(variant)]
    holder = f"{MODEL.format(project=version.project, model=version.model)}/versions/{version.uid}"
    return Cleanup(tuple(keys), version.content.lineage.dataset_version, holder)


def keys_of(variant: Variant) -> tuple[str, ...]:
    """Where its files lie."""
    return tuple(artifact.logical_key for artifact in variant.result.artifacts)


def hold_of(model: Model) -> Cleanup:
    """What gives back the hold that a model has on its project."""
    return Cleanup((), PROJECT.format(project=model.project), model.holder)
