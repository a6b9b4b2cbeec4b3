"""Why a worker waits or has ended, in the words of scheduler and kubelet, as reasons."""

from collections.abc import Iterable, Mapping, Sequence

from bloomery_trainer import reasons
from bloomery_trainer.launcher.kubernetes.objects import Condition, Event, Job, Pod, Terminated
from bloomery_trainer.model import Reason

OUT_OF_MEMORY = 137
_IMAGE_PULL = frozenset(
    {
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_MISCONFIGURED = frozenset({"CreateContainerConfigError", "InvalidImageName"})
_NOT_STARTED = frozenset({"CreateContainerError", "RunContainerError"})
_START_FAILED = frozenset({"ContainerCannotRun", "StartError"})
_VOLUMES = frozenset({"FailedAttachVolume", "FailedMapVolume", "FailedMount"})
_SANDBOX = frozenset({"FailedCreatePodContainer", "FailedCreatePodSandBox"})
_NODE_GONE = frozenset({"DeletionByPodGC", "DeletionByTaintManager"})
_LOOK = "look at the namespace with kubectl; it is tried again by itself"


def of_waiting(pod: Pod, events: Iterable[Event], gpu_resource: str) -> Reason | None:
    """Why a pod does not run yet; None where it is on its way."""
    scheduled = pod.condition("PodScheduled")
    if scheduled is not None and scheduled.status == "False":
        return _unscheduled(scheduled, gpu_resource)
    waiting = pod.state.waiting
    if waiting is None or waiting.reason in ("", "ContainerCreating", "PodInitializing"):
        return _of_events(events)
    said = waiting.message or waiting.reason
    if waiting.reason in _IMAGE_PULL:
        # The kubelet says so in turns with and without the back-off.
        return reasons.image_pull(said.rpartition("ErrImagePull: ")[2])
    if waiting.reason in _MISCONFIGURED:
        return _misconfigured(f"the worker cannot be started: {said}")
    if waiting.reason in _NOT_STARTED:
        return reasons.launch_failed(f"the worker could not be started: {said}")
    return None


def of_job(job: Job, events: Sequence[Event]) -> Reason | None:
    """Why a Job has no pod; None where one is on its way."""
    if job.spec.suspend:
        return reasons.quota_wait("the cluster's queue has not let the job in yet")
    refused = [event.message for event in events if event.reason == "FailedCreate"]
    if not refused:
        return None
    said = refused[-1]
    if "exceeded quota" in said:
        return reasons.quota_wait(f"the namespace's quota is used up: {said}")
    if "not found" in said:
        return _misconfigured(f"the cluster makes no pod: {said}")
    return reasons.admission_error(f"the cluster makes no pod: {said}", _LOOK)


def of_disruption(pod: Pod) -> Reason | None:
    """Who has taken a pod away whose Job goes on; None where nobody has."""
    condition = pod.condition("DisruptionTarget")
    if condition is None or condition.status != "True":
        return None
    said = pod.status.message or condition.message
    if condition.reason == "PreemptionByScheduler":
        return reasons.preempted(said)
    return reasons.node_lost(said) if condition.reason in _NODE_GONE else reasons.evicted(said)


def of_end(job: Job, pod: Pod | None, memory: str) -> Reason | None:
    """What the cluster knows of an end; None where the worker's exit code says all. `memory` is what it had, if known.

    An end that the worker itself explains is not looked at here.
    """
    failed = job.condition("Failed")
    if failed is None:
        return None
    if failed.reason == "DeadlineExceeded" or (pod is not None and pod.status.reason == "DeadlineExceeded"):
        return reasons.cut_off((pod.status.message if pod else "") or failed.message)
    if pod is None:
        return reasons.deleted_externally("the worker's pod was deleted by somebody else")
    if pod.state.terminated is None:
        return _never_ran(pod)
    if pod.state.terminated.reason in _START_FAILED:
        return _misconfigured(f"the worker cannot be started: {pod.state.terminated.message}")
    if is_out_of_memory(pod.state.terminated):
        return reasons.out_of_memory(memory)
    return reasons.deleted_externally("the worker's pod was deleted by somebody else") if _is_deleted(pod) else None


def is_out_of_memory(ended: Terminated) -> bool:
    """Whether the kernel ended the worker itself for memory: the same is said where only a child of it was killed."""
    return ended.reason == "OOMKilled" and ended.exit_code == OUT_OF_MEMORY


def _is_deleted(pod: Pod) -> bool:
    return pod.metadata.deletion_timestamp is not None and of_disruption(pod) is None


def _never_ran(pod: Pod) -> Reason:
    said = ": ".join(part for part in (pod.status.reason, pod.status.message) if part)
    if pod.status.reason == "NodeLost":
        return reasons.node_lost(said)
    if disrupted := of_disruption(pod):
        return disrupted
    if _is_deleted(pod):
        return reasons.deleted_externally("the worker's pod was deleted by somebody else")
    return reasons.admission_error(f"the node refused the worker: {said}", "it is tried again by itself")


def _unscheduled(condition: Condition, gpu_resource: str) -> Reason:
    said = condition.message or condition.reason
    if condition.reason == "SchedulingGated":
        return reasons.quota_wait(f"the cluster's queue has not let the job in yet: {said}")
    if "persistentvolumeclaim" in said:
        return reasons.volume_mount(said)
    hints: Mapping[str, tuple[str, str]] = {
        f"Insufficient {gpu_resource}": ("GPU", "wait for a GPU, add a node that has one, or ask for fewer: --gpus"),
        "Insufficient memory": ("MEMORY", "wait for room, add a larger node, or ask for less: --memory"),
        "Insufficient cpu": (
            "CPU",
            "wait for room, add a larger node, or set the launcher's max_cpus to what nodes have",
        ),
    }
    for words, (what, hint) in hints.items():
        if words in said:
            return reasons.no_node(what, said, hint)
    return reasons.no_node("TAINT", said, "let node_selector and tolerations of the launcher name nodes that are there")


def _of_events(events: Iterable[Event]) -> Reason | None:
    for event in events:
        if event.reason in _VOLUMES:
            return reasons.volume_mount(event.message)
        if event.reason in _SANDBOX:
            return reasons.launch_failed(f"the worker could not be started: {event.message}")
    return None


def _misconfigured(message: str) -> Reason:
    return reasons.config_error(message, "put the launcher's settings right, or what they name in the namespace")
