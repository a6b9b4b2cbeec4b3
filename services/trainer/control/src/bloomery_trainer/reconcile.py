"""The loop that makes the world agree with the job table: one replica leads, and runs it again and again."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bloomery_kit.errors import Aborted, BloomeryError
from bloomery_kit.names import new_uid
from bloomery_trainer import metrics
from bloomery_trainer.admission import obstacles
from bloomery_trainer.carry_out import LEASE, Hands
from bloomery_trainer.core import Core
from bloomery_trainer.decide import Facts, decide
from bloomery_trainer.housekeeping import Housekeeping
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import ACTIVE, Attempt, Job, State
from bloomery_trainer.store import attempts, jobs, leases

_log = logging.getLogger("bloomery.trainer.reconcile")


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
    """Holds the lease, and acts while it holds it."""

    def __init__(self, core: Core, *, holder: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._core = core
        self._holder = holder or new_uid()
        self._clock = clock
        self._watch = Stopwatch(clock)
        self._housekeeping = Housekeeping(core)
        self._looked = clock()
        self.epoch: int | None = None

    async def run(self) -> None:
        """Lead whenever possible, until cancelled; then give up the lease."""
        renewing = asyncio.create_task(self._keep_lease())
        try:
            while True:
                if self.epoch is not None:
                    await self._safely()
                await self._pause()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._give_up()

    async def run_pass(self) -> None:
        """Look at everything and do what there is to do. Raise what the database or the launcher raises."""
        assert self.epoch is not None
        started = self._clock()
        world = await self._look()
        hands = Hands(self._core, self.epoch)
        for facts in self._facts(world):
            await hands.carry_out(facts, decide(facts, self._core.settings.policy))
        for stray in world.strays():
            await hands.clear_away(stray)
        await self._housekeeping.run(hands)
        self._watch.forget_unused()
        self._measure(world, started)

    async def campaign(self) -> None:
        """Take the lease or renew it."""
        policy = self._core.settings.policy
        async with self._core.db.write() as tx:
            if self.epoch is not None and not await leases.renew(tx, LEASE, self.epoch, policy.lease_term):
                self.epoch = None
            if self.epoch is None:
                self.epoch = await leases.take(tx, LEASE, self._holder, policy.lease_term)
        metrics.LEADER.set(self.epoch is not None)
        metrics.EPOCH.set(self.epoch or 0)

    async def _keep_lease(self) -> None:
        while True:
            try:
                await self.campaign()
            except Exception as error:  # noqa: BLE001
                metrics.ERRORS.labels("lease").inc()
                _tell("the lease could not be renewed", error)
            if self.epoch is not None:
                self._core.moved.set()
            await asyncio.sleep(self._core.settings.policy.lease_renew)

    async def _give_up(self) -> None:
        if self.epoch is not None:
            async with self._core.db.write() as tx:
                await leases.give_up(tx, LEASE, self.epoch)
            self.epoch = None
            metrics.LEADER.set(0)

    async def _safely(self) -> None:
        try:
            await self.run_pass()
        except Aborted as error:
            metrics.FENCED.inc()
            self.epoch = None
            _log.warning("no longer the leader", extra={"error": error})
        except Exception as error:  # noqa: BLE001
            metrics.ERRORS.labels("pass").inc()
            _tell("a pass failed; the next one repeats it", error)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._core.settings.policy.reconcile_interval):
                await self._core.moved.wait()
        except TimeoutError:
            pass
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
        began = attempt.started_at if attempt is not None and attempt.ended_at is None else None
        return Facts(
            job=job,
            attempt=attempt,
            launched=world.launched.get(key),
            waited=since(job.uid, "state", (job.state, job.attempt)),
            silent=since(job.uid, "reports", (job.attempt, attempt.reports if attempt else 0)),
            stalled=since(job.uid, "stalled", True) if attempt is not None and attempt.stalled else 0.0,
            ended=since(job.uid, "outcome", attempt.outcome) if attempt else 0.0,
            queued=(now - job.queue_time).total_seconds(),
            worked=job.worked_seconds + ((now - began).total_seconds() if began else 0.0),
        )

    def _measure(self, world: World, started: float) -> None:
        metrics.PASS_SECONDS.observe(self._clock() - started)
        metrics.LAST_SUCCESS.set(self._core.clock().timestamp())
        running = [job for job in world.jobs if job.state is State.RUNNING]
        silences = [
            self._watch.since(job.uid, "reports", (job.attempt, world.attempts[job.uid, job.attempt].reports))
            for job in running
        ]
        metrics.SILENCE.set(max(silences, default=0.0))
        metrics.STALLED.set(sum(world.attempts[job.uid, job.attempt].stalled for job in running))
        metrics.WAITING.clear()
        for job in world.jobs:
            if job.state in (State.PENDING, State.QUEUED):
                metrics.WAITING.labels(job.reason.code if job.reason else "").inc()


def _may_start(facts: Facts) -> bool:
    job = facts.job
    waits = job.state is State.PENDING and job.held and facts.waited >= job.retry_delay
    return waits and (facts.launched is None or facts.launched.phase is Phase.ENDED)


def _tell(what: str, error: Exception) -> None:
    """Log it: on one line where it is known, such as a database that is away, else with its traceback."""
    if isinstance(error, BloomeryError):
        _log.warning(what, extra={"error": error})
    else:
        _log.error(what, exc_info=error)
