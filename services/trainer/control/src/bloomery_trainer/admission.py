"""Who may start next on a machine that is shared: by priority, then by turns of the projects, then by age."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Protocol

from bloomery_kit.quotas import Limits
from bloomery_trainer import reasons
from bloomery_trainer.model import Reason, Resources

_NO_LIMITS = Limits()
_NO_QUOTAS: Mapping[str, Limits | None] = MappingProxyType({})


class Contender(Protocol):
    """What is known of a job that wants, or has, a part of the machine."""

    @property
    def uid(self) -> str:
        """Its uid."""
        ...

    @property
    def number(self) -> int:
        """Its place in the order of creation."""
        ...

    @property
    def project(self) -> str:
        """Whose turn it is."""
        ...

    @property
    def priority(self) -> int:
        """Larger goes first."""
        ...

    @property
    def resources(self) -> Resources:
        """What it takes."""
        ...


def obstacles(
    waiting: Sequence[Contender],
    busy: Sequence[Contender],
    capacity: Resources | None,
    *,
    per_project: int = 0,
    quotas: Mapping[str, Limits | None] = _NO_QUOTAS,
) -> Mapping[str, Reason]:
    """Why each of the `waiting` jobs that must go on waiting does so, by uid; the others may start, all of them.

    `busy` are the jobs that hold a part of `capacity`, which is None where somebody else keeps count. `per_project`
    bounds the busy jobs of one project, 0 for no bound, and so do the `quotas` of projects; None stands for one that
    is not known, whose project must wait.
    """
    running = Counter(job.project for job in busy)
    shares = _Shares(busy, per_project, quotas)
    left = _Left(capacity, busy)
    found: dict[str, Reason] = {}
    for job in _turns(waiting, running):
        reason = left.never(job.resources) or shares.full(job) or left.full(job.resources)
        if reason is None:
            running[job.project] += 1
            shares.take(job)
        else:
            found[job.uid] = reason
    return found


def _turns(waiting: Sequence[Contender], running: Mapping[str, int]) -> Iterator[Contender]:
    queues: dict[str, list[Contender]] = {}
    for job in sorted(waiting, key=lambda job: (job.priority, -job.number)):
        queues.setdefault(job.project, []).append(job)
    seen: Counter[str] = Counter()

    def place(project: str) -> tuple[int, int, int, str]:
        first = queues[project][-1]
        return -first.priority, max(running[project], seen[project]), first.number, project

    # A project's place changes with its own turns only.
    heap = [place(project) for project in queues]
    heapify(heap)
    while heap:
        *_, project = heappop(heap)
        # Whoever was refused has had its turn too.
        seen[project] += 1
        yield queues[project].pop()
        if queues[project]:
            heappush(heap, place(project))


def outlook(asked: Resources, capacity: Resources | None) -> Reason:
    """What to tell of a new job that asks for this."""
    if never := _Left(capacity, ()).never(asked):
        return never
    if capacity is not None and asked.cpus > capacity.cpus:
        return reasons.created(f"; it asks for {asked.cpus:g} cores and gets the {capacity.cpus:g} that there are")
    return reasons.created()


class _Left:
    def __init__(self, capacity: Resources | None, busy: Sequence[Contender]) -> None:
        self._capacity = capacity
        self._cpus = self._memory = self._gpus = 0.0
        for job in busy:
            self._take(job.resources)

    def never(self, asked: Resources) -> Reason | None:
        there = self._capacity
        if there is None:
            return None
        if asked.gpus > there.gpus:
            return reasons.unschedulable("GPU", f"{asked.gpus} GPUs", f"{there.gpus}")
        if asked.memory_bytes > there.memory_bytes:
            return reasons.unschedulable("MEMORY", f"{_size(asked.memory_bytes)} of memory", _size(there.memory_bytes))
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


class _Shares:
    """What projects have of the jobs and GPUs that they may."""

    def __init__(self, busy: Sequence[Contender], per_project: int, quotas: Mapping[str, Limits | None]) -> None:
        self._per_project, self._quotas = per_project, quotas
        self._jobs, self._gpus = Counter[str](), Counter[str]()
        for job in busy:
            self.take(job)

    def take(self, job: Contender) -> None:
        self._jobs[job.project] += 1
        self._gpus[job.project] += job.resources.gpus

    def full(self, job: Contender) -> Reason | None:
        project, asked = job.project, job.resources.gpus
        limits = self._quotas.get(project, _NO_LIMITS)
        if limits is None:
            return reasons.quota_unknown(project)
        bounds = [bound for bound in (self._per_project or None, limits.running_jobs) if bound is not None]
        if bounds and self._jobs[project] >= min(bounds):
            return reasons.project_full(f"{project} has {self._jobs[project]} jobs at work and may have {min(bounds)}")
        if limits.gpus is not None and asked and self._gpus[project] + asked > limits.gpus:
            has = f"{project} has {self._gpus[project]} GPUs at work and may have {limits.gpus}"
            if asked <= limits.gpus:
                # Reserved all the same, or a large job would wait for ever behind small ones.
                self._gpus[project] += asked
            return reasons.project_full(f"{has}; the job asks for {asked}")
        return None


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
