"""What is made of Jobs, pods and events as the cluster tells them: the texts are those of Kubernetes 1.34."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.launcher.kubernetes.looking import Look
from bloomery_trainer.launcher.kubernetes.objects import Event, Job, Pod
from bloomery_trainer.model import Reason

GPU = "nvidia.com/gpu"
LABELS = {"bloomery.dev/job": "u", "bloomery.dev/attempt": "1"}
FAILED = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "m"}]}
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
NOW = "2026-01-01T00:00:00Z"


def a_job(status: Mapping[str, Any] | None = None, *, suspend: bool = False, **metadata: Any) -> Job:
    named = {"name": "bl-u-1", "uid": "job", "labels": LABELS, **metadata}
    return Job.model_validate({"metadata": named, "spec": {"suspend": suspend}, "status": status or {}})


def a_pod(phase: str, *, state: Mapping[str, Any] | None = None, uid: str = "pod", **fields: Any) -> Pod:
    metadata = {"name": f"bl-u-1-{uid}", "uid": uid, "labels": LABELS, "creationTimestamp": NOW}
    metadata |= fields.pop("metadata", {})
    status = {"phase": phase, **fields, "containerStatuses": [{"name": "worker", "state": state}] if state else []}
    spec = {"containers": [{"resources": {"limits": {"memory": "1073741824"}}}]}
    return Pod.model_validate({"metadata": metadata, "spec": spec, "status": status})


def condition(kind: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def disrupted(reason: str) -> dict[str, str]:
    return condition("DisruptionTarget", reason=reason, message="it says")


def ended(code: int, *, reason: str = "Error", message: str = "") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def warning(uid: str, reason: str, message: str) -> Mapping[str, Sequence[Event]]:
    event = {"metadata": {}, "involvedObject": {"uid": uid}, "reason": reason, "message": message}
    return {uid: [Event.model_validate(event)]}


def seen(
    job: Job | None, pods: Sequence[Pod] = (), events: Mapping[str, Sequence[Event]] | None = None
) -> Launched | None:
    found = Look([job] if job else [], pods, GPU).launched(events or {})
    assert len(found) <= 1
    return found[0] if found else None


def reason(launched: Launched | None) -> Reason:
    assert launched is not None
    assert launched.reason is not None
    return launched.reason


def test_what_is_not_ours_is_left_alone() -> None:
    assert seen(a_job(labels={})) is None
    assert seen(a_job(labels={"bloomery.dev/job": "u", "bloomery.dev/attempt": "x"})) is None


def test_a_job_without_a_pod_waits() -> None:
    assert seen(a_job()) == Launched("u", 1, Phase.WAITING)


def test_a_pod_that_runs_is_the_incarnation() -> None:
    running = a_pod("Running", state={"running": {}})
    assert seen(a_job(), [running]) == Launched("u", 1, Phase.RUNNING, incarnation="pod")


SCHEDULER = "0/3 nodes are available: {}. no new claims to deallocate, preemption: 0/3 nodes are available."


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("1 Insufficient nvidia.com/gpu, 2 Insufficient memory", "UNSCHEDULABLE_GPU"),
        ("1 node(s) had untolerated taint {nvidia.com/gpu: }, 2 Insufficient nvidia.com/gpu", "UNSCHEDULABLE_GPU"),
        ("3 Insufficient memory", "UNSCHEDULABLE_MEMORY"),
        ("3 Insufficient cpu", "UNSCHEDULABLE_CPU"),
        ("3 node(s) had untolerated taint {a: b}", "UNSCHEDULABLE_TAINT"),
        ("3 node(s) didn't match Pod's node affinity/selector", "UNSCHEDULABLE_TAINT"),
        ('persistentvolumeclaim "blobs" not found', "VOLUME_MOUNT"),
    ],
)
def test_the_schedulers_words_are_told(said: str, code: str) -> None:
    text = SCHEDULER.format(said)
    pod = a_pod("Pending", conditions=[condition("PodScheduled", "False", "Unschedulable", text)])
    thing = seen(a_job(), [pod])
    assert thing is not None
    assert (thing.phase, thing.incarnation) == (Phase.WAITING, "pod")
    assert (reason(thing).code, text in reason(thing).message, bool(reason(thing).hint)) == (code, True, True)


@pytest.mark.parametrize(
    ("waiting", "code"),
    [
        ("ErrImagePull", "IMAGE_PULL"),
        ("ImagePullBackOff", "IMAGE_PULL"),
        ("InvalidImageName", "CONFIG_ERROR"),
        ("CreateContainerConfigError", "CONFIG_ERROR"),
        ("CreateContainerError", "LAUNCH_FAILED"),
    ],
)
def test_the_kubelets_words_are_told(waiting: str, code: str) -> None:
    pod = a_pod("Pending", state={"waiting": {"reason": waiting, "message": "it says"}})
    found = reason(seen(a_job(), [pod]))
    assert (found.code, "it says" in found.message, bool(found.hint)) == (code, True, True)


def test_a_pull_that_is_tried_again_is_told_once() -> None:
    said = 'failed to pull "x": not found'
    first = a_pod("Pending", state={"waiting": {"reason": "ErrImagePull", "message": said}})
    backing_off = f'Back-off pulling image "x": ErrImagePull: {said}'
    second = a_pod("Pending", state={"waiting": {"reason": "ImagePullBackOff", "message": backing_off}})
    assert reason(seen(a_job(), [first])) == reason(seen(a_job(), [second]))


@pytest.mark.parametrize(
    ("event", "code"), [("FailedMount", "VOLUME_MOUNT"), ("FailedCreatePodSandBox", "LAUNCH_FAILED")]
)
def test_what_only_an_event_tells_is_told(event: str, code: str) -> None:
    pod = a_pod("Pending", state={"waiting": {"reason": "ContainerCreating"}})
    assert Look([a_job()], [pod], GPU).unexplained() == ["pod"]
    assert reason(seen(a_job(), [pod], warning("pod", event, "it says"))).code == code


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ('pods "x" is forbidden: exceeded quota: q, requested: pods=1', "QUOTA_WAIT"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "ADMISSION_ERROR"),
        ('pods "x" is forbidden: error looking up service account a/b: serviceaccount "b" not found', "CONFIG_ERROR"),
    ],
)
def test_a_job_that_gets_no_pod_says_why(said: str, code: str) -> None:
    assert Look([a_job()], (), GPU).unexplained() == ["job"]
    found = reason(seen(a_job(), (), warning("job", "FailedCreate", said)))
    assert (found.code, said in found.message) == (code, True)


def test_a_job_that_was_not_let_in_waits_for_its_turn() -> None:
    thing = seen(a_job(suspend=True))
    assert thing is not None
    assert (thing.phase, reason(thing).code) == (Phase.WAITING, "QUOTA_WAIT")


def test_a_job_that_was_stopped_runs_until_its_pod_is_gone() -> None:
    suspended = a_job({"startTime": NOW}, suspend=True)
    going = a_pod("Running", state={"running": {}}, metadata={"deletionTimestamp": NOW})
    assert seen(suspended, [going]) == Launched("u", 1, Phase.RUNNING, incarnation="pod")
    thing = seen(suspended)
    assert thing is not None
    assert (thing.phase, reason(thing).code, thing.incarnation) == (Phase.SUSPENDED, "PREEMPTED", "")


@pytest.mark.parametrize(
    ("by", "code"),
    [
        ("PreemptionByScheduler", "PREEMPTED"),
        ("EvictionByEvictionAPI", "EVICTED"),
        ("TerminationByKubelet", "EVICTED"),
        ("DeletionByTaintManager", "NODE_LOST"),
        ("DeletionByPodGC", "NODE_LOST"),
    ],
)
def test_a_pod_that_was_taken_away_will_be_followed_by_another(by: str, code: str) -> None:
    gone = a_pod("Failed", state=ended(44), conditions=[disrupted(by)])
    thing = seen(a_job(), [gone])
    assert thing is not None
    assert (thing.phase, reason(thing).code, thing.incarnation) == (Phase.WAITING, code, "")
    following = a_pod("Pending", uid="next", metadata={"creationTimestamp": "2026-01-01T00:00:01Z"})
    thing = seen(a_job(), [following, gone])
    assert thing is not None
    assert (thing.phase, thing.incarnation) == (Phase.WAITING, "next")


def test_of_two_pods_the_one_that_stays_counts() -> None:
    stays = a_pod("Running", state={"running": {}}, uid="stays")
    going = a_pod("Running", uid="going", metadata={"deletionTimestamp": NOW, "creationTimestamp": "2026-02-01T00:00Z"})
    assert seen(a_job(), [stays, going]) == Launched("u", 1, Phase.RUNNING, incarnation="stays")


def test_a_pod_that_ended_a_moment_ago_still_runs() -> None:
    assert seen(a_job(), [a_pod("Failed", state=ended(1))]) == Launched("u", 1, Phase.RUNNING, incarnation="pod")


def test_an_end_is_told_with_the_last_words() -> None:
    words = json.dumps({"exit_code": 42, "finished": False, "reason": {"code": "DATA_ERROR", "message": "m"}})
    thing = seen(a_job(FAILED), [a_pod("Failed", state=ended(42, message=words))])
    assert thing is not None
    assert (thing.phase, thing.exit_code, thing.reason) == (Phase.ENDED, 42, None)
    assert thing.termination is not None
    assert thing.termination.reason == Reason("DATA_ERROR", "m")


@pytest.mark.parametrize(("told", "meant"), [(0, 0), (44, 44), (128, 128), (143, -15), (137, -9)])
def test_an_exit_code_of_a_signal_is_one(told: int, meant: int) -> None:
    job = a_job(FAILED if told else COMPLETE)
    thing = seen(job, [a_pod("Failed" if told else "Succeeded", state=ended(told))])
    assert thing is not None
    assert (thing.phase, thing.exit_code, thing.reason) == (Phase.ENDED, meant, None)


def test_a_pod_that_is_gone_when_it_has_completed_has_completed() -> None:
    assert seen(a_job(COMPLETE)) == Launched("u", 1, Phase.ENDED, 0)


def test_a_pod_that_somebody_deleted_is_told() -> None:
    thing = seen(a_job(FAILED))
    assert (reason(thing).code, reason(thing).retriable) == ("DELETED_EXTERNALLY", True)
    still_there = a_pod("Failed", state=ended(44), metadata={"deletionTimestamp": NOW})
    assert reason(seen(a_job(FAILED), [still_there])).code == "DELETED_EXTERNALLY"


def test_memory_that_ran_out_is_told_with_its_limit() -> None:
    found = reason(seen(a_job(FAILED), [a_pod("Failed", state=ended(137, reason="OOMKilled"))]))
    assert (found.code, "1073741824" in found.message, found.retriable) == ("OOM_HOST", True, True)


def test_a_worker_that_outlived_its_child_says_itself_how_it_ended() -> None:
    thing = seen(a_job(FAILED), [a_pod("Failed", state=ended(7, reason="OOMKilled"))])
    assert thing is not None
    assert (thing.exit_code, thing.reason) == (7, None)


@pytest.mark.parametrize("why", ["UnexpectedAdmissionError", "OutOfnvidia.com/gpu", "NodeAffinity"])
def test_a_node_that_refuses_a_pod_is_told(why: str) -> None:
    found = reason(seen(a_job(FAILED), [a_pod("Failed", reason=why, message="it says")]))
    assert (found.code, found.retriable, why in found.message) == ("ADMISSION_ERROR", True, True)


def test_a_worker_that_the_cluster_cut_off_took_too_long() -> None:
    pod = a_pod("Failed", reason="DeadlineExceeded", message="Pod was active too long", state=ended(44))
    assert reason(seen(a_job(FAILED), [pod])).code == "DEADLINE"


def test_an_image_without_the_program_is_the_installations_fault() -> None:
    pod = a_pod("Failed", state=ended(128, reason="StartError", message="exec: no such file"))
    found = reason(seen(a_job(FAILED), [pod]))
    assert (found.code, "no such file" in found.message) == ("CONFIG_ERROR", True)


def test_what_is_left_of_a_deleted_job_runs_until_it_has_ended() -> None:
    running = a_pod("Running", state={"running": {}}, metadata={"deletionTimestamp": NOW})
    assert seen(None, [running]) == Launched("u", 1, Phase.RUNNING, incarnation="pod")
    deleted = a_job(deletionTimestamp=NOW)
    assert seen(deleted, [running]) == Launched("u", 1, Phase.RUNNING, incarnation="pod")
    assert seen(deleted) is None
    assert seen(None, [a_pod("Failed", state=ended(44))]) is None
