"""What Jobs and their pods say about attempts: one pure function from objects to what launchers tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bloomery_trainer import reasons
from bloomery_trainer.launcher import Launched, Phase, last_words
from bloomery_trainer.launcher.kubernetes import words
from bloomery_trainer.launcher.kubernetes.manifest import ATTEMPT, JOB
from bloomery_trainer.launcher.kubernetes.objects import Event, Job, Metadata, Pod, Terminated

Key = tuple[str, int]
_BY_SIGNAL = 128


class Look:
    """Everything that was there at one moment, by attempt; Jobs and pods without our labels are left out."""

    def __init__(self, jobs: Iterable[Job], pods: Iterable[Pod], gpu_resource: str) -> None:
        self.jobs: dict[Key, Job] = {key: job for job in jobs if (key := _key(job.metadata))}
        self.pods: dict[Key, list[Pod]] = defaultdict(list)
        self._gpu_resource = gpu_resource
        for pod in sorted(pods, key=_age):
            if key := _key(pod.metadata):
                self.pods[key].append(pod)

    def live(self, key: Key) -> list[Pod]:
        """The pods of an attempt of which something may run, the oldest first."""
        return [pod for pod in self.pods.get(key, ()) if not pod.is_over]

    def lacks_pods(self) -> bool:
        """Whether a Job has failed of whose pods none is there."""
        return any(job.condition("Failed") and not self.pods.get(key) for key, job in self.jobs.items())

    def unexplained(self) -> list[str]:
        """The uids of objects that wait without saying why; events may say it."""
        waiting = [pod for key in self.jobs for pod in self.live(key) if pod.status.phase == "Pending"]
        mute = [pod.metadata.uid for pod in waiting if words.of_waiting(pod, (), self._gpu_resource) is None]
        empty = [job for key, job in self.jobs.items() if not self.pods.get(key) and not _finished(job)]
        return [*mute, *(job.metadata.uid for job in empty if not job.spec.suspend)]

    def launched(self, events: Mapping[str, Sequence[Event]]) -> list[Launched]:
        """What there is of every attempt; `events` are warnings by the uid of what they are about."""
        found = [self._of_job(key, job, events) for key, job in self.jobs.items()]
        # Its Job was deleted, and it goes on until its grace is over.
        orphans = [key for key in self.pods if key not in self.jobs and self.live(key)]
        return [*(each for each in found if each), *(self._of_pod(key, self.live(key)[-1], events) for key in orphans)]

    def _of_job(self, key: Key, job: Job, events: Mapping[str, Sequence[Event]]) -> Launched | None:
        if live := self.live(key):
            return self._of_pod(key, live[-1], events)
        if job.metadata.deletion_timestamp is not None:
            # The cluster forgets it as soon as it comes to that.
            return None
        over = self.pods.get(key, ())
        if _finished(job):
            return _ended(key, job, over[-1] if over else None)
        if job.spec.suspend and job.status.start_time is not None:
            return Launched(*key, Phase.SUSPENDED, reason=reasons.preempted())
        if job.spec.suspend or not over:
            return Launched(*key, Phase.WAITING, reason=words.of_job(job, events.get(job.metadata.uid, ())))
        if disrupted := words.of_disruption(over[-1]):
            return Launched(*key, Phase.WAITING, reason=disrupted)
        # The job controller has not come to it yet.
        return Launched(*key, Phase.RUNNING, incarnation=over[-1].metadata.uid)

    def _of_pod(self, key: Key, pod: Pod, events: Mapping[str, Sequence[Event]]) -> Launched:
        if pod.status.phase != "Pending" or pod.metadata.deletion_timestamp is not None:
            return Launched(*key, Phase.RUNNING, incarnation=pod.metadata.uid)
        why = words.of_waiting(pod, events.get(pod.metadata.uid, ()), self._gpu_resource)
        return Launched(*key, Phase.WAITING, reason=why, incarnation=pod.metadata.uid)


def _ended(key: Key, job: Job, pod: Pod | None) -> Launched:
    ended = pod.state.terminated if pod else None
    said = last_words(ended.message) if ended else None
    reason = None if said and said.reason else words.of_end(job, pod, pod.memory if pod else "")
    return Launched(
        *key,
        Phase.ENDED,
        exit_code=said.exit_code if said else _exit_code(job, ended),
        termination=said,
        reason=reason,
        incarnation=pod.metadata.uid if pod else "",
    )


def _exit_code(job: Job, ended: Terminated | None) -> int | None:
    if ended is None:
        return 0 if job.condition("Complete") else None
    return _BY_SIGNAL - ended.exit_code if ended.exit_code > _BY_SIGNAL else ended.exit_code


def _finished(job: Job) -> bool:
    return bool(job.condition("Complete") or job.condition("Failed"))


def _key(metadata: Metadata) -> Key | None:
    uid, attempt = metadata.labels.get(JOB, ""), metadata.labels.get(ATTEMPT, "")
    return (uid, int(attempt)) if uid and attempt.isdecimal() else None


def _age(pod: Pod) -> tuple[bool, str]:
    """In the order of their making; what is on its way out comes before what is to follow it."""
    made = pod.metadata.creation_timestamp
    return pod.metadata.deletion_timestamp is None, made.isoformat() if made else ""
