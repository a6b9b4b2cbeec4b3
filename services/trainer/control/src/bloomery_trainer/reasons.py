"""Reasons in the user's words, and which of them are the infrastructure's fault."""

from bloomery_trainer.model import Reason

SUSPECT = "WORKER_SILENT"
WORKER_LOST = "WORKER_LOST"
UNSAFE_FILE = "UNSAFE_FILE"
RESULT_INVALID = "RESULT_INVALID"
INFRASTRUCTURE = frozenset(
    {
        "ADMISSION_ERROR",
        "DELETED_EXTERNALLY",
        "EVICTED",
        "LAUNCH_FAILED",
        "NODE_LOST",
        "PREEMPTED",
        "VOLUME_MOUNT",
        WORKER_LOST,
    }
)
REFUSALS = frozenset({"ADMISSION_ERROR", "IMAGE_PULL", "LAUNCH_FAILED", "VOLUME_MOUNT"})
"""What keeps a worker from its start and may pass, for as long as `refusal_grace` says."""
# One more try with the same memory is a try too many.
OWN_BUDGET = {"OOM_HOST": 1}


def created(note: str = "") -> Reason:
    """The job waits for the next pass of the reconciler."""
    return Reason("CREATED", f"accepted; it starts as soon as the machine has room{note}")


def quota_wait(message: str) -> Reason:
    """The machine, or the project's share of it, is full."""
    return Reason("QUOTA_WAIT", message, "it starts by itself when other jobs end; a higher priority moves it forward")


def project_full(message: str) -> Reason:
    """The project has as much as it may."""
    hint = "it starts by itself when jobs of the project end, or when its quota is raised: bloomery quota show"
    return Reason("QUOTA_WAIT", message, hint)


def quota_unknown(project: str) -> Reason:
    """Nobody has told yet what the project may have."""
    message = f"what {project} may have cannot be told now, as the service access does not answer"
    return Reason("QUOTA_WAIT", message, "it starts by itself once that is back")


def unschedulable(what: str, asked: str, there: str) -> Reason:
    """The machine can never run it."""
    return Reason(
        f"UNSCHEDULABLE_{what}",
        f"the job asks for {asked} and the machine has {there}",
        "cancel it and create it with smaller `resources`: --memory, --gpus; or give the server a larger machine",
    )


def input_missing(name: str, detail: str) -> Reason:
    """What the job works on cannot be held."""
    return Reason("DATA_ERROR", f"{name} cannot be used: {detail}", "create the job again with another dataset version")


def worker_lost(detail: str) -> Reason:
    """The worker's process is gone without a word."""
    return Reason(WORKER_LOST, detail, "the job's log has its last lines; it is tried again by itself", retriable=True)


def suspect(seconds: float) -> Reason:
    """The worker has been silent for a while."""
    return Reason(SUSPECT, f"the worker has not reported for {seconds:.0f} s", "nothing to do yet: it may come back")


def deleted_externally(message: str = "the worker was removed by somebody else") -> Reason:
    """What was launched is not there any more."""
    return Reason("DELETED_EXTERNALLY", message, "it is tried again by itself", retriable=True)


def completed_without_result() -> Reason:
    """The process ended well but left no result."""
    return Reason(
        "COMPLETED_WITHOUT_RESULT",
        "the worker ended without an error and without a result",
        "the job's log has its last lines",
        retriable=True,
    )


def result_invalid(problems: str) -> Reason:
    """The recipe left something out of its result."""
    hint = "this is a fault of the recipe: mend what it returns, and train again"
    return Reason(RESULT_INVALID, f"the recipe's result cannot be used: {problems}", hint)


def stalled() -> Reason:
    """The trainer process makes no steps."""
    return Reason(
        "STALLED",
        "the work made no progress for too long, although the worker was alive",
        "look for a hanging data loader or device in the log; it is tried again by itself",
        retriable=True,
    )


def deadline(seconds: int) -> Reason:
    """The job has used up its time."""
    return Reason("DEADLINE", f"the job took more than its {seconds} s", "create it with a larger `deadline_seconds`")


def queue_timeout(waited_for: Reason | None) -> Reason:
    """The job waited too long for its start."""
    why = f"; last: {waited_for.message}" if waited_for else ""
    code = waited_for.code if waited_for else "QUOTA_WAIT"
    return Reason(code, f"the job was not started in time{why}", "create it again when there is room")


def cancelled(by: str, *, force: bool) -> Reason:
    """Somebody asked for its end."""
    how = " with force" if force else ""
    return Reason("CANCELLED", f"{by} cancelled it{how}", "create it again if that was a mistake")


def evicted(said: str = "") -> Reason:
    """Something outside asked the worker to stop; `said` is how that put it."""
    message = _with("the worker was asked to stop from outside", said)
    return Reason("EVICTED", message, "it goes on from its last checkpoint", retriable=True)


def preempted(said: str = "") -> Reason:
    """An admission controller or a scheduler took the machine away."""
    message = _with("more important work took the machine", said)
    return Reason("PREEMPTED", message, "it goes on when there is room", retriable=True)


def node_lost(said: str) -> Reason:
    """The machine of the worker is gone."""
    message = _with("the node of the worker was lost", said)
    return Reason("NODE_LOST", message, "it goes on from its last checkpoint", retriable=True)


def no_node(what: str, said: str, hint: str) -> Reason:
    """A cluster has no node for the worker at present."""
    return Reason(f"UNSCHEDULABLE_{what}", said, hint)


def image_pull(said: str) -> Reason:
    """The worker's image does not come."""
    hint = "look at the launcher's image and image_pull_secrets, and whether nodes reach the registry"
    return Reason("IMAGE_PULL", f"the worker's image cannot be pulled: {said}", hint, retriable=True)


def volume_mount(said: str) -> Reason:
    """A volume of the worker does not come."""
    hint = "look at what the launcher's settings name in the namespace: cache_claim, authority_config_map"
    return Reason("VOLUME_MOUNT", f"a volume of the worker cannot be mounted: {said}", hint, retriable=True)


def admission_error(message: str, hint: str) -> Reason:
    """A part of the cluster refuses the worker."""
    return Reason("ADMISSION_ERROR", message, hint, retriable=True)


def out_of_memory(limit: str) -> Reason:
    """The kernel ended the worker for its memory; `limit` is what it had."""
    had = f" of {limit} bytes" if limit.isdecimal() else f" of {limit}" if limit else ""
    return Reason(
        "OOM_HOST",
        f"the worker was killed because it took more than its memory{had}",
        "choose a smaller batch or image size, or give the job more memory: --memory",
        retriable=True,
    )


def cut_off(said: str) -> Reason:
    """The cluster ended a worker that its trainer did not end in time."""
    return Reason(
        "DEADLINE", _with("the job took more than its time", said), "create it with a larger `deadline_seconds`"
    )


def _with(message: str, said: str) -> str:
    return f"{message}: {said}" if said else message


def launch_failed(detail: str) -> Reason:
    """The launcher could not start the worker, for a passing reason."""
    return Reason("LAUNCH_FAILED", detail, "it is tried again by itself", retriable=True)


def config_error(message: str, hint: str) -> Reason:
    """The installation has to be put right first."""
    return Reason("CONFIG_ERROR", message, hint)


def user_code(exit_code: int) -> Reason:
    """The worker gave up on the user's input, and could not say why."""
    return Reason("USER_CODE", f"the worker gave up with exit code {exit_code}", "the job's log has its last lines")


def from_exit(exit_code: int | None) -> Reason:
    """What an exit code says when nothing else is known; None for an unknown one, negative for a signal."""
    if exit_code is None:
        return worker_lost("the worker's process ended, and nobody saw how")
    if exit_code == 0:
        return completed_without_result()
    if exit_code == 42:
        return user_code(exit_code)
    if exit_code == 44:
        return evicted()
    how = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return worker_lost(f"the worker's process ended with {how}")
