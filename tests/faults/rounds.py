"""A round: a real training, one fault in the middle of it, and everything that must hold in the end."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil

from bloomery import Job
from bloomery.training.v1 import JOB_STATE_QUEUED, JOB_STATE_SUCCEEDED, JobEvent
from tests.faults.faults import Blow, Fault, Target
from tests.faults.processes import Part, Server, eventually, refusing, workers
from tests.faults.sites import Replicas, Site

EPOCHS = 5
_PATIENCE = 400.0
_EXIT_SECONDS = 40.0
_LATE = frozenset({"evaluating", "publishing"})


@dataclass(frozen=True)
class Absence:
    """When a fault began and was over, by the wall clock, as the events' own times."""

    began: float
    over: float


@dataclass(frozen=True)
class Outcome:
    """What became of a round.

    Attributes:
        absence: None where the job was over before the fault.
        seen: the events that the watcher received, each with its moment.
        epochs: numbers of the epochs in the job's curve.
        repeated: epochs that were trained and reported twice.
        recovery: seconds from the end of the fault until the watcher received the next measurement, or the job's end.
        problems: what should have been otherwise, in words.
    """

    fault: Fault
    absence: Absence | None
    seen: Sequence[tuple[float, JobEvent]]
    attempts: int
    epochs: Sequence[int]
    repeated: int
    recovery: float | None
    seconds: float
    problems: Sequence[str]

    @property
    def struck(self) -> bool:
        """Whether the fault came before the job was over."""
        return self.absence is not None

    def __str__(self) -> str:
        recovery = "-" if self.recovery is None else f"{self.recovery:.1f} s"
        end = "; ".join(self.problems) or "right"
        return (
            f"{self.fault} -> attempts {self.attempts}, epochs {list(self.epochs)}, {self.repeated} repeated,"
            f" recovery {recovery}, {self.seconds:.0f} s{'' if self.struck else ', TOO LATE'}: {end}"
        )


@dataclass
class Watcher:
    """Somebody who watches the job all the time, and what came when, by the wall clock."""

    job: Job
    seen: list[tuple[float, JobEvent]] = field(default_factory=list)
    problem: BaseException | None = None

    def begin(self) -> threading.Thread:
        thread = threading.Thread(target=self._follow, daemon=True)
        thread.start()
        return thread

    def _follow(self) -> None:
        try:
            for event in self.job.watch():
                self.seen.append((time.time(), event.proto))
        except Exception as problem:  # noqa: BLE001 - it is what the round looks for
            self.problem = problem

    def reached(self, fraction: float) -> bool:
        """Whether the training is that far; above 1 means the evaluation."""
        told = [event.progress for _, event in self.seen if event.HasField("progress")]
        if fraction > 1:
            return any(progress.phase in _LATE for progress in told)
        return any(progress.phase == "training" and progress.fraction >= fraction for progress in told)

    def recovery(self, since: float, attempt: int) -> float | None:
        """Seconds from a moment to the next measurement of an attempt, or to the job's end."""
        signs = (
            at - since
            for at, event in self.seen
            if at > since
            and (
                event.state_changed.to_state == JOB_STATE_SUCCEEDED
                or (event.HasField("metrics") and event.attempt >= attempt)
            )
        )
        return next(signs, None)


def play(
    site: Site, fault: Fault, model: str, *, epochs: int = EPOCHS, meanwhile: Callable[[Job], None] = lambda _: None
) -> Outcome:
    """Train, strike, wait for the end, and look at everything; `meanwhile` is called while a server is away."""
    began = time.monotonic()
    watcher = Watcher(site.train(model, epochs))
    thread = watcher.begin()
    absence = _strike_in_time(site, fault, watcher, thread, meanwhile)
    problems = wrong(site, watcher, thread, model, epochs=epochs, most_attempts=fault.most_attempts)
    job = watcher.job
    return Outcome(
        fault=fault,
        absence=absence,
        seen=watcher.seen,
        attempts=job.proto.attempt,
        epochs=[epoch.epoch for epoch in job.epochs()] if not thread.is_alive() else [],
        repeated=sum(max(0, len(both) - 1) for both in _attempts_of_epochs(watcher).values()),
        recovery=watcher.recovery(absence.over, job.proto.attempt) if absence else None,
        seconds=time.monotonic() - began,
        problems=problems,
    )


def wrong(
    site: Site, watcher: Watcher, thread: threading.Thread, model: str, *, epochs: int, most_attempts: int = 1
) -> Sequence[str]:
    """Wait for the end of a job that is watched, look at everything, and say what should have been otherwise."""
    thread.join(_PATIENCE)
    return [*_trouble(watcher, thread)] or [*_check(site, watcher, model, epochs, most_attempts)]


def _strike_in_time(
    site: Site, fault: Fault, watcher: Watcher, thread: threading.Thread, meanwhile: Callable[[Job], None]
) -> Absence | None:
    """Strike when the moment has come; None where the job was over before."""
    while fault.fraction >= 0 and not watcher.reached(fault.fraction):
        if not thread.is_alive():
            return None
        time.sleep(0.02)
    time.sleep(fault.delay)
    if fault.target.is_worker:
        return _strike_worker(site, fault, thread)
    began = time.time()
    _strike_servers(site, fault, lambda: meanwhile(watcher.job))
    return Absence(began, time.time())


def _strike_worker(site: Site, fault: Fault, thread: threading.Thread) -> Absence | None:
    while thread.is_alive():
        for target, process in workers(site.jobs_dir):
            began = time.time()
            if target is fault.target and _hit(process, fault):
                return Absence(began, time.time())
        time.sleep(0.05)
    return None


def _hit(process: psutil.Process, fault: Fault) -> bool:
    try:
        if fault.blow is Blow.KILL:
            process.kill()
        else:
            process.suspend()
            time.sleep(fault.absence)
            process.resume()
    except psutil.NoSuchProcess:
        return False
    return True


def _strike_servers(site: Site, fault: Fault, meanwhile: Callable[[], None]) -> None:
    targets = _targets(site, fault.target)
    if fault.blow is Blow.REFUSE:
        _refuse(site, fault, meanwhile)
        return
    if fault.blow is Blow.KILL:
        for target in targets:
            target.kill()
        try:
            meanwhile()
            time.sleep(fault.absence)
        finally:
            for target in targets:
                target.start()
        return
    pids = [target.pid for target in targets if isinstance(target, Server)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(fault.absence)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def _refuse(site: Site, fault: Fault, meanwhile: Callable[[], None]) -> None:
    """In the place of the object store there is somebody who answers 503."""
    assert isinstance(site, Replicas)
    site.store.kill()
    try:
        with refusing(site.store_port) as site.refused:
            meanwhile()
            time.sleep(fault.absence)
    finally:
        site.store.start()


def _targets(site: Site, target: Target) -> Sequence[Server | Part]:
    if target is Target.LEADER:
        return [site.leader()]
    if target in (Target.DATABASE, Target.STORE):
        assert isinstance(site, Replicas)
        return [site.database if target is Target.DATABASE else site.store]
    return site.servers


def _trouble(watcher: Watcher, thread: threading.Thread) -> Sequence[str]:
    if thread.is_alive():
        watcher.job.refresh()
        return [f"after {_PATIENCE:.0f} s the watch still runs and the job is {watcher.job.state}"]
    return [f"the watch broke: {watcher.problem!r}"] if watcher.problem else []


def _check(site: Site, watcher: Watcher, model: str, epochs: int, most_attempts: int) -> Sequence[str]:
    job = watcher.job.refresh()
    if job.state != "SUCCEEDED":
        return [f"it ended {job.state}: {job.proto.reason}"]
    curve = [epoch.epoch for epoch in job.epochs()]
    sequences = [event.sequence for _, event in watcher.seen]
    recorded = site.recorded(job, model)
    left = eventually(lambda: list(workers(site.jobs_dir)), lambda found: not found, seconds=_EXIT_SECONDS)
    claims = {
        f"the curve has the epochs {curve}": curve == list(range(1, epochs + 1)),
        "the watcher missed or repeated events": sequences == list(range(1, job.proto.last_sequence + 1)),
        f"it took {job.proto.attempt} attempts": job.proto.attempt <= most_attempts,
        f"attempts began {_begun(watcher)}": _begun(watcher) == list(range(1, job.proto.attempt + 1)),
        "there is no result": job.proto.HasField("result"),
        f"versions of the model were recorded for {recorded}": recorded == [job.name],
        f"processes are left: {left}": not left,
        **_regressions(watcher),
    }
    return [problem for problem, holds in claims.items() if not holds]


def _begun(watcher: Watcher) -> list[int]:
    """The attempts that were launched, in order."""
    changes = [event for _, event in watcher.seen if event.HasField("state_changed")]
    return [
        event.attempt
        for event in changes
        if event.state_changed.to_state != event.state_changed.from_state
        and event.state_changed.to_state == JOB_STATE_QUEUED
    ]


def _regressions(watcher: Watcher) -> dict[str, bool]:
    """Each attempt goes on right after the last checkpoint before it, and forward."""
    claims, kept, present, expected = {}, 0, 0, 1
    for _, event in watcher.seen:
        if event.attempt != present:
            present, expected = event.attempt, kept + 1
        if event.HasField("checkpoint"):
            kept = max(kept, event.checkpoint.epoch)
        if event.HasField("metrics") and event.metrics.epoch_end:
            claims[f"attempt {present} reported epoch {event.metrics.epoch} for {expected}"] = (
                event.metrics.epoch == expected
            )
            expected += 1
    return claims


def _attempts_of_epochs(watcher: Watcher) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for _, event in watcher.seen:
        if event.HasField("metrics") and event.metrics.epoch_end:
            found.setdefault(event.metrics.epoch, set()).add(event.attempt)
    return found
