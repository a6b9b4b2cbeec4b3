"""What deployments need of the registry stays as long as they do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bloomery_inference.names import DEPLOYMENT
from bloomery_inference.serving.model import Deployment
from bloomery_inference.store import deployments
from bloomery_kit.database import Transaction
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation


def name_of(deployment: Deployment) -> str:
    """The resource name of a deployment."""
    return DEPLOYMENT.format(project=deployment.project, deployment=deployment.id)


async def check_unused(tx: Transaction, name: str, model_uid: str) -> None:
    """Raise FailedPrecondition DEPLOYED where a model called `name`, which is locked, has deployments."""
    found = await deployments.of_model(tx, model_uid)
    if found:
        raise _held("DEPLOYED", f"{name} is used by {_titles(found)}", "delete the deployment first", found)


async def check_undeployed(tx: Transaction, name: str, variants: Collection[str]) -> None:
    """Raise FailedPrecondition DEPLOYED where deployments need variants of what is called `name`."""
    found = await deployments.of_variants(tx, variants)
    if found:
        fix = "let the deployment serve another version, or delete it"
        raise _held("DEPLOYED", f"{name} is used by {_titles(found)}", fix, found)


async def check_unfollowed(tx: Transaction, model_uid: str, alias: str, fix: str) -> None:
    """Raise FailedPrecondition ALIAS_DEPLOYED where a deployment moves an alias of a model that is locked."""
    found = [one for one in await deployments.of_model(tx, model_uid) if one.alias == alias]
    if found:
        fix = fix.format(id=found[0].id)
        raise _held("ALIAS_DEPLOYED", f"the alias {alias} is moved by {_titles(found)}", fix, found)


def _titles(found: Sequence[Deployment]) -> str:
    return ", ".join(f"deployments/{one.id}" for one in found)


def _held(reason: str, what: str, fix: str, found: Sequence[Deployment]) -> FailedPrecondition:
    violations = [PreconditionViolation(reason, name_of(one), fix) for one in found]
    return FailedPrecondition(reason, f"{what}; {fix}", violations)
