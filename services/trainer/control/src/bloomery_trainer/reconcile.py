"""The loop that makes the world agree with the job table: the replica that leads runs it again and again."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bloomery_kit.leases import Lease, LeaseLost
from bloomery_kit.loops import guarded
from bloomery_trainer import metrics
from bloomery_trainer.admission import obstacles
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.core import Core
from bloomery_trainer.decide import Facts, decide
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import ACTIVE, Attempt, Job, State
from bloomery_trainer.store import attempts, jobs

LOOP = "reconcile"


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


@dataclass(frozen=True)
class World:
    """One look at everything: what is launched first, then the jobs, so that an end is never seen before its cause."""

    jobs: Sequence[Job]
    attempts: dict[tuple[str, int], Attempt]
    launched: dict[tuple[str, int], Launched]

    def strays(self) -> list[Launched]:
        """Launched things that are nobody's present attempt."""
        present = {(job.uid, job.attempt) for job in self.jobs}
        return [thing for key, thing in self.launched.items() if key not in present]


class Reconciler:
    """Acts while this replica leads."""

    def __init__(self, core: Core, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._clock = clock
        self._watch = Stopwatch(clock)
        self._looked = clock()
        self._idle = True

    async def run_pass(self, lease: Lease) -> None:
        """Look at everything and do what there is to do, one job's trouble aside from the others'.

        Raise LeaseLost, and what the database or the launcher raises at the look.
        """
        started = self._clock()
        world = await self._look()
        hands = Hands(self._core, lease)
        found = self._facts(world)
        for facts in found:
            with guarded(LOOP, let=(LeaseLost,), job=facts.job.name):
                await hands.carry_out(facts, decide(facts, self._core.settings.policy))
        for stray in world.strays():
            with guarded(LOOP, launched=(stray.job_uid, stray.attempt)):
                await hands.clear_away(stray)
        self._watch.forget_unused()
        self._idle = not found and not world.launched
        self._measure(found, started)

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
            known = {job.uid: job for job in await jobs.open_jobs(tx)}
            # What is terminal matters only while something of it is still there.
            rest = [uid for uid, _ in launched if uid not in known]
            known |= await jobs.by_uid(tx, rest) if rest else {}
            world = World(list(known.values()), await attempts.present(tx, list(known)), launched)
        self._note_absence()
        return world

    def _note_absence(self) -> None:
        """Start all watches again after a time in which we could not look: nobody could reach us either.

        The database was away, or this process was stopped.
        """
        now = self._clock()
        if now - self._looked > self._core.settings.policy.suspect_after:
            self._watch = Stopwatch(self._clock)
        self._looked = now

    def _facts(self, world: World) -> list[Facts]:
        found = [self._about(job, world) for job in world.jobs]
        ready = [facts for facts in found if _may_start(facts)]
        busy = [facts.job for facts in found if facts.job.state in ACTIVE or facts.launched is not None]
        limit = self._core.settings.max_running_per_project
        reasons = obstacles([facts.job for facts in ready], busy, self._core.launcher.capacity(), per_project=limit)
        return [replace(facts, obstacle=reasons.get(facts.job.uid)) for facts in found]

    def _about(self, job: Job, world: World) -> Facts:
        key = (job.uid, job.attempt)
        attempt = world.attempts.get(key)
        now = self._core.clock()
        since = self._watch.since
        state = (job.state, job.attempt)
        current = self._watch.knows(job.uid, "state", state)
        began = attempt.started_at if attempt is not None and attempt.ended_at is None else None
        return Facts(
            job=job,
            attempt=attempt,
            launched=world.launched.get(key),
            current=current,
            waited=since(job.uid, "state", state),
            silent=since(job.uid, "reports", (job.attempt, attempt.reports if attempt else 0)),
            stalled=since(job.uid, "stalled", True) if attempt is not None and attempt.stalled else 0.0,
            ended=since(job.uid, "outcome", attempt.outcome) if attempt else 0.0,
            queued=(now - job.queue_time).total_seconds(),
            worked=job.worked_seconds + ((now - began).total_seconds() if began else 0.0),
        )

    def _measure(self, found: Sequence[Facts], started: float) -> None:
        metrics.PASS_SECONDS.observe(self._clock() - started)
        metrics.LAST_SUCCESS.set(self._core.clock().timestamp())
        running = [facts for facts in found if facts.job.state is State.RUNNING]
        metrics.SILENCE.set(max((facts.silent for facts in running), default=0.0))
        metrics.STALLED.set(sum(facts.attempt is not None and facts.attempt.stalled for facts in running))
        metrics.WAITING.clear()
        for facts in found:
            if facts.job.state in (State.PENDING, State.QUEUED):
                metrics.WAITING.labels(facts.job.reason.code if facts.job.reason else "").inc()


def _may_start(facts: Facts) -> bool:
    job = facts.job
    waits = job.state is State.PENDING and job.held and facts.waited >= job.retry_delay
    return waits and (facts.launched is None or facts.launched.phase is Phase.ENDED)
