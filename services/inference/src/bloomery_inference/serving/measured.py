"""How deployments and replicas get on, as every replica of this service sees it in the shared tables."""

from collections.abc import Mapping, Sequence

from prometheus_client import Gauge

from bloomery_inference.serving.model import FORMATS, Deployment, Replica
from bloomery_kit.metrics import REGISTRY

REPLICAS = Gauge(
    "bloomery_serving_replicas",
    "Replicas by runtime, live or silent; of a runtime that has deployments, as others are not looked at.",
    ("runtime", "state"),
    registry=REGISTRY,
)
DEPLOYMENTS = Gauge(
    "bloomery_serving_deployments",
    "Deployments that are not paused: as wanted (settled), on the way there (progressing), or unable to (failed).",
    ("state",),
    registry=REGISTRY,
)
_STATES = ("settled", "progressing", "failed")
for _state in _STATES:
    DEPLOYMENTS.labels(_state)


def tell(deployments: Sequence[Deployment], replicas: Mapping[str, Sequence[Replica]]) -> None:
    """Tell of the deployments, and of the replicas of each of their runtimes."""
    states = [_state_of(one) for one in deployments]
    for state in _STATES:
        DEPLOYMENTS.labels(state).set(states.count(state))
    for runtime in FORMATS:
        if runtime not in replicas:
            REPLICAS.remove_by_labels({"runtime": runtime})
            continue
        live = sum(one.live for one in replicas[runtime])
        REPLICAS.labels(runtime, "live").set(live)
        REPLICAS.labels(runtime, "silent").set(len(replicas[runtime]) - live)


def _state_of(deployment: Deployment) -> str:
    if deployment.failure:
        return "failed"
    return "settled" if deployment.observed == deployment.generation else "progressing"
