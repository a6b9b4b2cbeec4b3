"""Who may start next on a machine that is shared: by priority, then by turns of the projects, then by age."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from bloomery_trainer import reasons
from bloomery_trainer.model import Job, Reason, Resources


def obstacles(
    waiting: Sequence[Job], busy: Sequence[Job], capacity: Resources | None, *, per_project: int = 0
) -> Mapping[str, Reason]:
    """Why each of the `waiting` jobs that must go on waiting does so, by uid; the others may start, all of them.

    `busy` are the jobs that hold a part of `capacity`, which is None where somebody else keeps count. `per_project`
    bounds the busy jobs of one project, 0 for no bound.
    """
    running = Counter(job.project for job in busy)
    left = _Left(capacity, busy)
    found: dict[str, Reason] = {}
    for job in _turns(waiting, running):
        reason = (
            left.never(job.spec.resources) or _project_full(job, running, per_project) or left.full(job.spec.resources)
        )
        if reason is None:
            running[job.project] += 1
        else:
            found[job.uid] = reason
    return found


def _turns(waiting: Sequence[Job], running: Mapping[str, int]) -> Iterator[Job]:
    queues: dict[str, list[Job]] = {}
    for job in sorted(waiting, key=lambda job: (job.priority, -job.number)):
        queues.setdefault(job.project, []).append(job)
    seen: Counter[str] = Counter()
    while queues:
        # Whoever was refused has had its turn too.
        project = min(
            queues,
            key=lambda name: (-queues[name][-1].priority, max(running[name], seen[name]), queues[name][-1].number),
        )
        seen[project] += 1
        yield queues[project].pop()
        if not queues[project]:
            del queues[project]


def outlook(asked: Resources, capacity: Resources | None) -> Reason:
    """What to tell of a new job that asks for this."""
    if never := _Left(capacity, ()).never(asked):
        return never
    if capacity is not None and asked.cpus > capacity.cpus:
        return reasons.created(f"; it asks for {asked.cpus:g} cores and gets the {capacity.cpus:g} that there are")
    return reasons.created()


class _Left:
    def __init__(self, capacity: Resources | None, busy: Sequence[Job]) -> None:
        self._capacity = capacity
        self._cpus = self._memory = self._gpus = 0.0
        for job in busy:
            self._take(job.spec.resources)

    def never(self, asked: Resources) -> Reason | None:
        there = self._capacity
        if there is None:
            return None
        if asked.gpus > there.gpus:
            return reasons.unschedulable("GPU", f"{asked.gpus} GPUs", f"{there.gpus}")
        if asked.memory_bytes > there.memory_bytes:
            return reasons.unschedulable("MEMORY", _size(asked.memory_bytes), _size(there.memory_bytes))
        return None

    def full(self, asked: Resources) -> Reason | None:
        # What does not fit is reserved all the same, or a large job would wait for ever behind small ones.
        self._take(asked)
        there = self._capacity
        fits = there is None or (
            (not asked.cpus or self._cpus <= there.cpus)
            and (not asked.memory_bytes or self._memory <= there.memory_bytes)
            and (not asked.gpus or self._gpus <= there.gpus)
        )
        return None if fits else reasons.quota_wait("the machine is busy with other jobs")

    def _take(self, asked: Resources) -> None:
        # A machine with fewer cores than a recipe likes still trains, only slower.
        self._cpus += min(asked.cpus, self._capacity.cpus) if self._capacity else asked.cpus
        self._memory += asked.memory_bytes
        self._gpus += asked.gpus


def _project_full(job: Job, running: Mapping[str, int], limit: int) -> Reason | None:
    if limit and running.get(job.project, 0) >= limit:
        return reasons.quota_wait(f"{job.project} has {limit} jobs at work, as many as it may")
    return None


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
