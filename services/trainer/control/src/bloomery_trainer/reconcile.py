"""The loop that makes the world agree with the job table: the replica that leads runs it again and again."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bloomery_kit import leases
from bloomery_kit.database import Transaction
from bloomery_kit.errors import Unavailable
from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.loops import guarded
from bloomery_kit.quotas import Limits
from bloomery_trainer import metrics
from bloomery_trainer.admission import obstacles
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.core import Core
from bloomery_trainer.counting import Counts, keep
from bloomery_trainer.decide import Facts, decide
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import ACTIVE, Attempt, Job, Reason, State, Waiting
from bloomery_trainer.store import attempts, jobs
from bloomery_trainer.store.attempts import Present
from bloomery_trainer.store.damage import Damaged, divided

LOOP = "reconcile"
_PAGE = 500
_AT_ONCE = 100


class Stopwatch:
    """Seconds since values last changed, by a clock that never jumps; whatever is new starts at zero.

    So a changed system clock makes nobody late, and after a restart everybody gets their whole grace again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[tuple[str, str], tuple[object, float]] = {}
        self._used: set[tuple[str, str]] = set()

    def since(self, uid: str, what: str, value: object) -> float:
        """How long `what` about `uid` has had this value."""
        now = self._clock()
        known, mark = self._marks.get((uid, what), (None, now))
        if known != value:
            mark = now
        self._marks[uid, what] = (value, mark)
        self._used.add((uid, what))
        return now - mark

    def knows(self, uid: str, what: str, value: object) -> bool:
        """Whether `what` about `uid` had this value already when it was last asked for."""
        return self._marks.get((uid, what), (None, 0.0))[0] == value

    def forget_unused(self) -> None:
        """Drop what nobody has asked for since the last call."""
        self._marks = {key: mark for key, mark in self._marks.items() if key in self._used}
        self._used.clear()


class Turns:
    """Takes some of many jobs at a time, by turns, so that those for which nothing succeeds hold up no others."""

    def __init__(self) -> None:
        self._through = 0

    def some(self, wanted: Sequence[Waiting]) -> dict[str, Waiting]:
        """The next ones, by uid; `wanted` is in the order of numbers."""
        later = [job for job in wanted if job.number > self._through]
        chosen = [*later, *wanted[: len(wanted) - len(later)]][:_AT_ONCE]
        self._through = chosen[-1].number if len(chosen) < len(wanted) else 0
        return {job.uid: job for job in chosen}

    def go_on_behind(self, number: int) -> None:
        """Begin with the job after that one the next time, whatever was taken."""
        self._through = number


@dataclass(frozen=True)
class World:
    """One look at everything: what is launched first, then the jobs, so that an end is never seen before its cause.

    `at_work` are the jobs that have something to run, or of which something is there; `waiting` are the others, and
    `damaged` those of both that cannot be read.
    """

    at_work: Sequence[Present]
    waiting: Sequence[Waiting]
    damaged: Sequence[Damaged]
    launched: dict[tuple[str, int], Launched]

    def busy(self) -> list[Job | Damaged]:
        """Jobs that have a part of the machine."""
        running = {key for key, thing in self.launched.items() if thing.phase is not Phase.ENDED}
        unread = [job for job in self.damaged if (job.uid, job.attempt) in running]
        return [*(job for job, _ in self.at_work), *unread]

    def strays(self) -> list[Launched]:
        """Launched things that are nobody's present attempt."""
        present = {(job.uid, job.attempt) for job, _ in self.at_work} | {(job.uid, job.attempt) for job in self.damaged}
        return [thing for key, thing in self.launched.items() if key not in present]


class Reconciler:
    """Acts while this replica leads."""

    def __init__(self, core: Core, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._clock = clock
        self._watch = Stopwatch(clock)
        self._looked = clock()
        self._counts = Counts(core.settings.policy.queue_timeout, clock)
        self._tenure: Lease | None = None
        self._idle = True
        self._starting, self._told, self._claiming = Turns(), Turns(), Turns()

    async def run_pass(self, lease: Lease) -> None:
        """Look at everything and do what there is to do, one job's trouble aside from the others'.

        Raise LeaseLost, and what the database or the launcher raises at the look.
        """
        started = self._clock()
        if lease != self._tenure:
            # Others have counted since.
            self._counts = Counts(self._core.settings.policy.queue_timeout, self._clock)
            self._tenure = lease
        world = await self._look()
        with guarded(LOOP, let=(LeaseLost,)):
            await self._keep_counts(lease, world)
        hands = Hands(self._core, lease)
        found = [self._about(job, attempt, world) for job, attempt in world.at_work]
        for facts in (*found, *await self._next(world)):
            with guarded(LOOP, let=(LeaseLost,), job=facts.job.name):
                await hands.carry_out(facts, decide(facts, self._core.settings.policy))
        if hands.away_for is not None:
            self._claiming.go_on_behind(hands.away_for)
        for damaged in world.damaged:
            self._core.complaints.tell(damaged.uid, damaged.error)
        for stray in world.strays():
            with guarded(LOOP, launched=(stray.job_uid, stray.attempt)):
                await hands.clear_away(stray)
        self._watch.forget_unused()
        self._counts.forget_unused()
        self._idle = not (world.at_work or world.waiting or world.launched)
        self._measure(found, world, started)

    async def pause(self) -> None:
        """Wait for news, at most as long as the policy says."""
        policy = self._core.settings.policy
        with suppress(TimeoutError):
            async with asyncio.timeout(policy.idle_interval if self._idle else policy.reconcile_interval):
                await self._core.moved.wait()
        self._core.moved.clear()

    async def _look(self) -> World:
        launched = {(thing.job_uid, thing.attempt): thing for thing in await self._core.launcher.observe()}
        async with self._core.db.read() as tx:
            active = set(await attempts.active(tx))
            found, damaged = divided(await attempts.of_jobs(tx, sorted(active | {uid for uid, _ in launched})))
            # A job that has nothing to run matters here only while something of its present attempt is still there.
            at_work = [each for each in found if each[0].state in ACTIVE or (each[0].uid, each[0].attempt) in launched]
            known = {job.uid for job, _ in at_work} | {job.uid for job in damaged}
            waiting, more = divided([job async for job in _waiting(tx) if job.uid not in known])
        self._note_absence()
        return World(at_work, waiting, [*damaged, *more], launched)

    async def _keep_counts(self, lease: Lease, world: World) -> None:
        worked = self._counts.work_to_keep(world.at_work)
        waited = self._counts.waits_to_keep([*(job for job, _ in world.at_work), *world.waiting])
        if worked or waited:
            async with self._core.db.write() as tx:
                await leases.fence(tx, lease)
                await keep(tx, worked, waited)

    def _note_absence(self) -> None:
        """Start all watches again after a time in which we could not look: nobody could reach us either.

        The database was away, or this process was stopped.
        """
        now = self._clock()
        if now - self._looked > self._core.settings.policy.suspect_after:
            self._watch = Stopwatch(self._clock)
        self._looked = now

    async def _next(self, world: World) -> list[Facts]:
        """Facts about those of the waiting jobs for which there is something to do, some at a time."""
        ready = [job for job in world.waiting if job.held and self._may_start(job)]
        limit = self._core.settings.max_running_per_project
        capacity = self._core.launcher.capacity()
        quotas = await self._quotas({job.project for job in ready})
        found = await asyncio.to_thread(obstacles, ready, world.busy(), capacity, per_project=limit, quotas=quotas)
        chosen = {
            **self._starting.some([job for job in ready if job.uid not in found]),
            **self._told.some([job for job in world.waiting if self._has_news(job, found.get(job.uid))]),
            **self._claiming.some([job for job in world.waiting if not job.held]),
        }
        judged = {job.uid for job in ready}
        pairs = await self._load(list(chosen))
        # What has become ready since the look was weighed against nobody, and waits for the next pass.
        return [
            replace(self._about(job, attempt, world), judged=job.uid in judged, obstacle=found.get(job.uid))
            for job, attempt in pairs
        ]

    async def _quotas(self, projects: Collection[str]) -> dict[str, Limits | None]:
        """What projects may have; None where that was never told."""

        async def limits(project: str) -> Limits | None:
            try:
                return await self._core.quotas.of(project.removeprefix("projects/"))
            except Unavailable:
                return None

        wanted = list(projects)
        return dict(zip(wanted, await asyncio.gather(*map(limits, wanted)), strict=True))

    async def _load(self, uids: Sequence[str]) -> list[Present]:
        if not uids:
            return []
        async with self._core.db.read() as tx:
            found = self._core.complaints.whole(await attempts.of_jobs(tx, uids))
        pairs = {job.uid: (job, attempt) for job, attempt in found}
        return [pairs[uid] for uid in uids if uid in pairs and pairs[uid][0].state is State.PENDING]

    def _may_start(self, job: Waiting) -> bool:
        # After its failure, a job waits as long as nobody's clock can change.
        waits = job.retry_delay > 0
        return not waits or self._watch.since(job.uid, "state", (State.PENDING, job.attempt)) >= job.retry_delay

    def _has_news(self, job: Waiting, obstacle: Reason | None) -> bool:
        """Whether it waits for something else than it was told, or has waited for too long."""
        limit = self._core.settings.policy.queue_timeout
        expired = job.held and 0 < limit < self._counts.queued(job)
        return expired or (obstacle is not None and not obstacle.says_the_same(job.reason))

    def _about(self, job: Job, attempt: Attempt | None, world: World) -> Facts:
        since = self._watch.since
        state = (job.state, job.attempt)
        worker = attempt.worker_id if attempt else None
        # A state may come again between two looks, a version never does; a worker may begin without a move.
        version = (job.version, worker)
        current = self._watch.knows(job.uid, "version", version)
        since(job.uid, "version", version)
        launched = world.launched.get((job.uid, job.attempt))
        refusal = launched.reason.code if launched is not None and launched.reason is not None else ""
        return Facts(
            job=job,
            attempt=attempt,
            launched=launched,
            current=current,
            waited=since(job.uid, "state", state),
            silent=since(job.uid, "reports", (job.attempt, worker, attempt.reports if attempt else 0)),
            refused=since(job.uid, "refusal", (job.attempt, refusal)) if refusal else 0.0,
            told=since(job.uid, "told", (job.reason.code, job.reason.message) if job.reason else None),
            stalled=since(job.uid, "stalled", True) if attempt is not None and attempt.stalled else 0.0,
            ended=since(job.uid, "outcome", attempt.outcome) if attempt else 0.0,
            queued=self._counts.queued(job),
            worked=job.worked_seconds + self._counts.worked(attempt),
        )

    def _measure(self, found: Sequence[Facts], world: World, started: float) -> None:
        metrics.PASS_SECONDS.observe(self._clock() - started)
        metrics.LAST_SUCCESS.set(self._core.clock().timestamp())
        running = [facts for facts in found if facts.job.state is State.RUNNING]
        metrics.SILENCE.set(max((facts.silent for facts in running), default=0.0))
        metrics.STALLED.set(sum(facts.attempt is not None and facts.attempt.stalled for facts in running))
        queued = [facts.job.reason for facts in found if facts.job.state in (State.PENDING, State.QUEUED)]
        reasons = Counter(reason.code if reason else "" for reason in (*queued, *(job.reason for job in world.waiting)))
        metrics.UNREADABLE.set(len(world.damaged))
        metrics.WAITING.clear()
        for code, count in reasons.items():
            metrics.WAITING.labels(code).set(count)


async def _waiting(tx: Transaction) -> AsyncIterator[Waiting | Damaged]:
    """All jobs that wait, page by page, so that nobody else waits for long."""
    after, page = 0, await jobs.waiting(tx, 0, _PAGE)
    while page:
        for job in page:
            yield job
        after = page[-1].number
        page = await jobs.waiting(tx, after, _PAGE) if len(page) == _PAGE else []
