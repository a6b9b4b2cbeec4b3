"""Random schedules of faults against the real tables: no illegal move, no second worker, no lost end.

Each schedule is drawn from its number alone, which a failure names: BLOOMERY_FIRST_SCHEDULE=number plays it again.
BLOOMERY_SCHEDULES=3000 for more; `make soak` does that, with numbers that were not played before.
"""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bloomery.annotation.v1 import Project
from bloomery.training.v1 import JobEvent
from bloomery_kit import leases
from bloomery_kit.database import Database
from bloomery_kit.errors import BloomeryError
from bloomery_kit.migrations import migrate
from bloomery_kit.objects import FolderObjectStore
from bloomery_trainer.app import MIGRATIONS
from bloomery_trainer.control import Control
from bloomery_trainer.core import Core
from bloomery_trainer.creation import Creation
from bloomery_trainer.feed import EventFeed
from bloomery_trainer.finishing import Failure, Stopped
from bloomery_trainer.launcher import Phase
from bloomery_trainer.leadership import Leadership
from bloomery_trainer.model import SUCCESSORS, Artifact, Job, Kind, Reason, Resources, State, Success
from bloomery_trainer.recipes import Catalogue
from bloomery_trainer.reconcile import Reconciler
from bloomery_trainer.settings import Policy
from bloomery_trainer.store import events, jobs, results
from bloomery_trainer.wishes import Wish
from bloomery_trainer.worker_calls import Report, Worker, WorkerCalls
from tests.recipe_files import texts
from tests.trainer.bench import World
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import Clock, log
from tests.trainer.neighbours import PROJECT_UID, Annotation, Datasets

WEIGHTS = Artifact("checkpoint", "sha256:" + "1" * 64, 1, logical_key=f"{PROJECT_UID}/x")
VARIANT = {"id": "v", "format": "onnx", "precision": "fp32", "device": "cpu", "failure": "none"}
SCHEDULES = int(os.environ.get("BLOOMERY_SCHEDULES", "12"))
FIRST = int(os.environ.get("BLOOMERY_FIRST_SCHEDULE", "0"))
STEPS = 90
# The lease runs by the database's clock, which does not wait for this one: here it has always just run out.
POLICY = Policy(retries=3, lease_term=0.0)
HERE = Path(__file__).parent


class Crash(BaseException):
    """The process is gone between two lines."""


class NoNeighbours:
    async def project(self, project: str) -> Project:
        return Project(name=project, uid=PROJECT_UID)

    async def project_uid(self, project: str) -> str:
        return PROJECT_UID

    async def hold(self, dataset_version: str, holder: str, title: str) -> None:
        pass

    async def release(self, dataset_version: str, holder: str) -> None:
        pass

    async def hold_project(self, project: str, uid: str, holder: str, title: str) -> bool:
        return True

    async def release_project(self, project: str, holder: str) -> None:
        pass


@dataclass
class SimulatedWorker:
    """A process that lives until the launcher ends it, and may go on talking after that."""

    key: tuple[str, int]
    token: str
    incarnation: str = ""
    secret: str = ""
    said: int = 0
    silent: bool = False


@dataclass
class Simulation:
    core: Core
    launcher: FakeLauncher
    clock: Clock
    chance: random.Random
    faults: bool = True
    workers: dict[tuple[str, int], SimulatedWorker] = field(default_factory=dict)
    uids: list[str] = field(default_factory=list)
    vanished: set[tuple[str, int]] = field(default_factory=set)
    replaced: list[SimulatedWorker] = field(default_factory=list)
    replicas: list[tuple[Leadership, Reconciler]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls, self.control, self.creation = WorkerCalls(self.core), Control(self.core), Creation(self.core)
        self.replicas = [self.replica(), self.replica()]

    def replica(self) -> tuple[Leadership, Reconciler]:
        return Leadership(self.core), Reconciler(self.core, clock=self.clock.monotonic)

    # What may happen.

    async def create(self) -> None:
        if len(self.uids) >= 4:
            return
        wish = Wish(
            "projects/cells", "", "", {}, Kind.OPTIMIZE, "recipes/scripted", {}, "", "", WEIGHTS, "", "",
            Resources(), 0, 0, "",
        )  # fmt: skip
        draft = await self.creation.draft(wish, "me")
        async with self.core.db.write() as tx:
            self.uids.append((await self.creation.store(tx, draft)).uid)

    async def reconcile(self) -> None:
        replica = self.chance.randrange(2)
        leadership, reconciler = self.replicas[replica]
        self.launcher.crash = self.chance.choice(["before", "after"]) if self._fault(0.08) else "never"
        try:
            await leadership.campaign()
            await leadership.lead(reconciler.run_pass)
        except (Crash, KeyboardInterrupt):
            self.replicas[replica] = self.replica()
        except BloomeryError:
            leadership.lease = None
        self.launcher.crash = "never"
        self._meet()

    def _meet(self) -> None:
        for order in self.launcher.orders:
            key = (order.job.uid, order.attempt)
            thing, known = self.launcher.things.get(key), self.workers.get(key)
            incarnation = thing.incarnation if thing else ""
            nobody = thing is not None and self.launcher.incarnations and not incarnation
            if known is None or (thing and not nobody and known.incarnation != incarnation):
                self.replaced += [known] if known else []
                self.workers[key] = SimulatedWorker(key, order.secrets["BLOOMERY_ATTEMPT_TOKEN"], incarnation)

    async def lose_the_lease(self) -> None:
        async with self.core.db.write() as tx:
            for leadership, _ in self.replicas:
                if leadership.lease is not None:
                    await leases.give_up(tx, leadership.lease)

    async def work(self) -> None:
        """A worker says something: a dead one too, if its words were on their way."""
        if not self.workers:
            return
        worker = self.chance.choice([*self.workers.values(), *self.replaced])
        if not self._runs(worker) and not self._fault(0.3):
            return
        with suppress(BloomeryError, Crash):
            await self._speak(worker)

    def _runs(self, worker: SimulatedWorker) -> bool:
        """Whether it is the one that is there, whatever the launcher has heard of its phase."""
        thing = self.launcher.things.get(worker.key)
        is_there = thing is not None and thing.phase is not Phase.ENDED and thing.incarnation == worker.incarnation
        return is_there and self.workers[worker.key] is worker

    async def restart(self) -> None:
        """A worker is taken away, asked to stop before or not; another one of its attempt begins at once, or later."""
        if not (self.launcher.running and self.launcher.incarnations):
            return
        key = self.chance.choice(self.launcher.running)
        runs = self.launcher.things[key].phase is Phase.RUNNING
        if runs and self.workers[key].secret and self.chance.random() < 0.5:
            with suppress(BloomeryError):
                await self.calls.finish(self.workers[key].secret, Stopped())
        if runs and self.chance.random() < 0.5:
            phase = self.chance.choice([Phase.WAITING, Phase.SUSPENDED])
            self.launcher.interrupts(key, phase, named=phase is Phase.WAITING and self.chance.random() < 0.5)
        else:
            self.launcher.restarts(key)
        self._meet()

    async def _speak(self, worker: SimulatedWorker) -> None:
        if not worker.secret:
            speaker = Worker(f"w{worker.key}{worker.incarnation}", "here", worker.incarnation)
            worker.secret = (await self.calls.start(worker.token, speaker)).secret
            return
        end = self._end() if self.chance.random() < 0.2 else None
        if end is not None:
            for _ in range(self.chance.choice([1, 1, 2])):
                await self.calls.finish(worker.secret, end)
            if self._runs(worker) and self.chance.random() < 0.7:
                self.launcher.ends(0, job_uid=worker.key[0], attempt=worker.key[1])
            return
        first = worker.said + 1 - self.chance.choice([0, 0, 1]) * min(worker.said, 1)
        said: list[JobEvent] = [log(str(number)) for number in range(first, worker.said + 2)]
        job, attempt = await self.calls.report(worker.secret, Report(first, said, "training", stalled=False))
        worker.said = attempt.worker_sequence
        if job.state in (State.PAUSING, State.CANCELLING) and self.chance.random() < 0.7:
            await self.calls.finish(worker.secret, Stopped())

    def _end(self) -> Success | Failure | Stopped:
        flaky = Reason("STALLED", "flaky", retriable=True)
        ends: list[Success | Failure | Stopped] = [
            Success((), {}, {}, {}, variants=(VARIANT,)),
            Failure(flaky, "tail"),
            Stopped(),
            Failure(Reason("USER_CODE", "bug"), ""),
        ]
        return self.chance.choice(ends if self.faults else ends[:1])

    async def kill(self) -> None:
        if self.launcher.running:
            uid, attempt = self.chance.choice(self.launcher.running)
            self.launcher.ends(self.chance.choice([None, -9, 0, 42, 44, 1]), job_uid=uid, attempt=attempt)

    async def vanish(self) -> None:
        if self.launcher.things:
            key = self.chance.choice(list(self.launcher.things))
            del self.launcher.things[key]
            self.vanished.add(key)

    async def ask(self) -> None:
        """A user does something to a job."""
        if not self.uids:
            return
        async with self.core.db.read() as tx:
            job = await jobs.find(tx, self.chance.choice(self.uids))
        assert job is not None
        verbs: list[Callable[..., Awaitable[Job]]] = [self.control.pause, self.control.resume, self._cancel]
        with suppress(BloomeryError):
            async with self.core.db.write() as tx:
                await self.chance.choice(verbs)(tx, job.project, job.job_id)

    async def _cancel(self, tx: Any, project: str, job_id: str) -> Job:
        return await self.control.cancel(tx, project, job_id, by="somebody", force=self.chance.random() < 0.3)

    async def wait(self) -> None:
        """Time passes, also much of it while nobody looks, or while a worker says nothing to somebody who does."""
        self.clock.seconds += self.chance.choice([1, 20, 70, 400])
        if self._fault(0.1):
            for _ in range(13):
                await self.reconcile()
                self.clock.seconds += 30

    async def pass_on(self) -> None:
        """Some seconds pass: so few that nobody counts as lost by the end of a schedule."""
        self.clock.seconds += self.chance.choice([1, 5, 20])

    def _fault(self, probability: float) -> bool:
        return self.faults and self.chance.random() < probability

    # What must hold.

    async def check(self) -> None:
        per_job = [uid for uid, _ in self.launcher.running]
        assert len(set(per_job)) == len(per_job), "two workers of one job"
        # What vanished before anybody saw it may be launched again: it has not begun.
        launched = [(order.job.uid, order.attempt) for order in self.launcher.orders]
        launched = [key for key in launched if key not in self.vanished]
        assert len(set(launched)) == len(launched), "an attempt was launched twice"

    async def check_logs(self) -> None:
        for uid in self.uids:
            async with self.core.db.read() as tx:
                job, result = await jobs.find(tx, uid), await results.of_job(tx, uid)
                log = await events.read(tx, uid, 0, rows=10_000)
            assert job is not None
            assert [event.sequence for event in log] == list(range(1, job.last_sequence + 1))
            moves = [event.state_changed for event in log if event.HasField("state_changed")]
            for before, after in pairwise(moves):
                assert after.from_state == before.to_state
                if after.from_state != after.to_state:
                    assert State(after.to_state) in SUCCESSORS[State(after.from_state)]
            assert State(moves[-1].to_state) is job.state
            assert (result is not None) == (job.state is State.SUCCEEDED)
            if job.state.is_terminal:
                assert State(log[-1].state_changed.to_state) is job.state, "something came after the end"

    async def recover(self) -> None:
        """Without faults, whatever state the schedule left, every job comes to its end."""
        self.faults = False
        left: list[object] = []
        for _ in range(400):
            for uid in self.uids:
                async with self.core.db.write() as tx:
                    job = await jobs.find(tx, uid)
                    assert job is not None
                    if job.state is State.PAUSED:
                        await self.control.resume(tx, job.project, job.job_id)
            await self.reconcile()
            for key in self.launcher.running:
                if self.launcher.things[key].phase is not Phase.RUNNING:
                    self.launcher.restarts(key)
                    self._meet()
                with suppress(BloomeryError):
                    await self._speak(self.workers[key])
            self.clock.seconds += 30
            async with self.core.db.read() as tx:
                found = [await jobs.find(tx, uid) for uid in self.uids]
            left = [(job.state.name, job.attempt, job.reason) for job in found if job and not job.state.is_terminal]
            if not left and not self.launcher.things:
                return
        raise AssertionError(f"no end for {left}; there are {self.launcher.things}")


@asynccontextmanager
async def simulated(folder: Path, seed: int) -> AsyncIterator[Simulation]:
    db = Database.connect(f"sqlite+aiosqlite:///{folder}/s{seed}.db")
    await migrate(db, MIGRATIONS)
    chance, launcher, clock = random.Random(seed), FakeLauncher(), Clock()
    launcher.stubborn, launcher.incarnations = seed % 3 == 0, seed % 2 == 0
    core = Core(
        settings=World(folder, Annotation(), Datasets(), "none:1", 1).settings(policy=POLICY),  # type: ignore[abstract]
        db=db,
        objects=FolderObjectStore(folder / "blobs", base_url="http://x", signing_key=b"k" * 32),
        catalogue=Catalogue.load(texts(HERE / "recipes")),
        neighbours=NoNeighbours(),  # type: ignore[arg-type]
        launcher=launcher,
        feed=EventFeed(db, poll=1),
        worker_target=lambda: "here:1",
        owner_tokens=lambda: ["owner"],
        clock=clock.now,
    )
    await core.objects.put(WEIGHTS.logical_key, b"w")
    yield Simulation(core, launcher, clock, chance)
    await db.close()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SCHEDULES))
async def test_a_schedule_of_faults(tmp_path: Path, seed: int) -> None:
    async with simulated(tmp_path, seed) as world:
        happenings = [
            *[world.reconcile] * 6,
            *[world.work] * 8,
            *[world.wait] * 2,
            *[world.ask] * 2,
            world.create,
            world.kill,
            world.vanish,
            world.restart,
            world.lose_the_lease,
        ]
        await world.create()
        for _ in range(STEPS):
            await world.chance.choice(happenings)()
            await world.check()
        await world.check_logs()
        world.launcher.stubborn = False
        await world.recover()
        await world.check_logs()


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SCHEDULES))
async def test_workers_that_are_only_taken_away_cost_no_try(tmp_path: Path, seed: int) -> None:
    async with simulated(tmp_path, seed) as world:
        world.faults, world.launcher.incarnations = False, True
        happenings = [*[world.reconcile] * 6, *[world.work] * 8, *[world.restart] * 3, world.pass_on, world.create]
        await world.create()
        for _ in range(STEPS):
            await world.chance.choice(happenings)()
            await world.check()
        world.launcher.stubborn = False
        await world.recover()
        await world.check_logs()
        async with world.core.db.read() as tx:
            found = [await jobs.find(tx, uid) for uid in world.uids]
        ends = [(job.state, job.attempt, job.failures, job.infra_failures) for job in found if job]
        assert ends == [(State.SUCCEEDED, 1, 0, 0)] * len(found)
