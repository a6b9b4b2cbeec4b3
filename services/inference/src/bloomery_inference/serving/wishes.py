"""What people ask of deployments, and what of their rows changes with that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bloomery_inference.convert import version_name
from bloomery_inference.model import ModelVersion
from bloomery_inference.serving.holding import name_of
from bloomery_inference.serving.model import Comparison, Deployment
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation

_ALL = 100


@dataclass(frozen=True)
class NewDeployment:
    """A deployment that is to be created: of the version called `target`, by the id of its `variant` or the fastest."""

    project: str
    id: str
    runtime: str
    target: str
    variant: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class DeploymentChange:
    """What is to change about the deployment called `name`; None for what stays."""

    name: str
    etag: str
    target: str | None = None
    variant: str | None = None
    traffic: int | None = None
    shadow: bool | None = None
    labels: Mapping[str, str] | None = None


def share_of(change: DeploymentChange, traffic: int, shadow: bool) -> dict[str, object]:
    """What a candidate that has a share answers with a change."""
    if change.shadow:
        return {"traffic": 0, "shadow": True}
    if change.traffic is None:
        return {"traffic": traffic, "shadow": shadow and change.shadow is None}
    return {"traffic": change.traffic, "shadow": shadow and change.shadow is None and not change.traffic}


def retargeted(deployment: Deployment, change: DeploymentChange, uid: str) -> dict[str, object]:
    """The columns that change when the variant `uid` is wanted. Raise FailedPrecondition NO_CANDIDATE."""
    if uid == deployment.serving:
        if change.shadow or change.traffic not in (None, _ALL):
            raise _no_candidate(deployment, "serves that already; name another version to get a share")
        return without_candidate()
    if uid == deployment.candidate:
        return share_of(change, deployment.traffic, deployment.shadow) if deployment.serving else {}
    if not deployment.serving:
        return {"candidate": uid, "failure": ""}
    fresh = Comparison(deployment.serving, uid)
    return {"candidate": uid, "failure": "", "comparison": fresh, **share_of(change, _ALL, shadow=False)}


def without_candidate() -> dict[str, object]:
    """The columns that change when a candidate is given up."""
    return {"candidate": "", "traffic": _ALL, "shadow": False, "failure": ""}


def reshared(deployment: Deployment, change: DeploymentChange) -> dict[str, object]:
    """The columns of another share of the candidate. Raise FailedPrecondition NO_CANDIDATE."""
    if not (deployment.serving and deployment.candidate):
        raise _no_candidate(deployment, "has no candidate beside what serves; name the version that is to get a share")
    return share_of(change, deployment.traffic, deployment.shadow)


def _no_candidate(deployment: Deployment, what: str) -> FailedPrecondition:
    message = f"{name_of(deployment)} {what}: `bloomery deploy update {deployment.id} --model MODEL@2 --traffic 10`"
    return FailedPrecondition(
        "NO_CANDIDATE", message, [PreconditionViolation("NO_CANDIDATE", name_of(deployment), what)]
    )


def rolled_back(
    deployment: Deployment, serving: ModelVersion | None, previous: ModelVersion | None
) -> dict[str, object]:
    """The columns that undo the last change of version. Raise FailedPrecondition NOTHING_TO_ROLL_BACK."""
    if serving is not None and deployment.candidate:
        return {"target": version_name(serving), **without_candidate()}
    if serving is None or previous is None:
        fix = "name a version with `bloomery deploy update`"
        message = f"nothing served before in {name_of(deployment)}; {fix}"
        violation = PreconditionViolation("NOTHING_TO_ROLL_BACK", name_of(deployment), fix)
        raise FailedPrecondition("NOTHING_TO_ROLL_BACK", message, [violation])
    back = {"candidate": deployment.previous, "traffic": _ALL, "shadow": False, "failure": ""}
    fresh = Comparison(deployment.serving, deployment.previous)
    return {"target": version_name(previous), "comparison": fresh, **back}
