"""The spool against a model of it: nothing is lost, told twice or out of order, but what may be thinned."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, integers

from bloomery.training.v1 import JobEvent, LogLine, MetricsReported
from bloomery_worker.spool import Spool


def measurement(step: int, *, epoch_end: bool = False) -> JobEvent:
    return JobEvent(metrics=MetricsReported(step=step, epoch_end=epoch_end))


class SpoolMachine(RuleBasedStateMachine):
    """A worker that adds, reports and hears acknowledgements, some of them late or lost."""

    @initialize()
    def begin(self) -> None:
        self.spool = Spool(Path(":memory:"))
        self.added: list[int] = []
        self.stored: list[int] = []

    @rule(epoch_end=booleans())
    def add(self, epoch_end: bool) -> None:
        self.added.append(len(self.added))
        self.spool.append(measurement(self.added[-1], epoch_end=epoch_end))

    @rule(limit=integers(1, 5), reply_arrives=booleans())
    def report(self, limit: int, reply_arrives: bool) -> None:
        first, events = self.spool.batch(limit)
        assert first <= len(self.stored) + 1
        steps = [event.metrics.step for event in events]
        assert self.stored[first - 1 :] == steps[: len(self.stored) - first + 1]
        self.stored[first - 1 :] = steps
        if reply_arrives:
            self.spool.acknowledge(len(self.stored))

    @precondition(lambda self: self.stored)
    @rule(back=integers(0, 10))
    def late_reply(self, back: int) -> None:
        self.spool.acknowledge(max(0, len(self.stored) - back))

    @invariant()
    def what_is_stored_is_a_beginning_of_what_was_added(self) -> None:
        if hasattr(self, "spool"):
            assert self.stored == self.added[: len(self.stored)]

    def teardown(self) -> None:
        while len(self.spool):
            self.report(5, reply_arrives=True)
        assert self.stored == self.added
        self.spool.close()


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def drained(spool: Spool) -> list[JobEvent]:
    found: list[JobEvent] = []
    while len(spool):
        first, events = spool.batch(100)
        found.extend(events)
        spool.acknowledge(first + len(events) - 1)
    return found


def test_thinning_keeps_ends_of_epochs_and_warnings(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_waiting=100)
    warning = JobEvent(log=LogLine(level=LogLine.LEVEL_WARNING, message="look here"))
    for step in range(1000):
        spool.append(measurement(step, epoch_end=step % 100 == 0))
    spool.append(warning)
    events = drained(spool)
    spool.close()
    assert len(events) <= 110
    assert [event.metrics.step for event in events if event.metrics.epoch_end] == list(range(0, 1000, 100))
    assert events[-1] == warning
    steps = [event.metrics.step for event in events[:-1]]
    assert steps == sorted(steps)


def test_what_was_handed_out_is_not_thinned(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_waiting=10)
    for step in range(10):
        spool.append(measurement(step))
    before = spool.batch(4)
    for step in range(10, 100):
        spool.append(measurement(step))
    assert spool.batch(4) == before
    spool.close()


def test_large_events_make_more_reports_instead_of_one_that_nobody_takes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    for size in (5 << 20, 5 << 20, 10 << 20, 1, 1):
        spool.append(JobEvent(log=LogLine(level=LogLine.LEVEL_WARNING, message="x" * size)))
    counts = []
    while len(spool):
        first, events = spool.batch(100)
        counts.append(len(events))
        spool.acknowledge(first + len(events) - 1)
    spool.close()
    assert counts == [1, 1, 1, 2]


def test_a_refused_batch_does_not_hold_up_what_follows(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db")
    spool.append(measurement(1))
    spool.batch(1)
    spool.append(measurement(2))
    spool.discard_batch()
    first, (event,) = spool.batch(1)
    spool.close()
    assert (first, event.metrics.step) == (1, 2)


class FullDisk(sqlite3.Connection):
    """A database whose file cannot grow."""

    full = False

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        if self.full and sql.startswith("INSERT"):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *arguments)  # type: ignore[arg-type]


def test_a_full_disk_costs_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    made: list[FullDisk] = []

    def connecting(path: object, **options: object) -> sqlite3.Connection:
        if path == ":memory:":
            return connect(":memory:", isolation_level=None)
        made.append(connect(str(path), isolation_level=None, factory=FullDisk))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    spool = Spool(tmp_path / "spool.db")
    spool.append(measurement(1))
    made[0].full = True
    spool.append(measurement(2))
    assert [event.metrics.step for event in drained(spool)] == [1, 2]
    spool.close()


def test_a_broken_file_costs_what_it_held_and_nothing_later(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path)
    for step in range(10):
        spool.append(measurement(step))
    path.write_bytes(b"?" * path.stat().st_size)
    for step in range(10, 20):
        spool.append(measurement(step))
    assert [event.metrics.step for event in drained(spool)] == list(range(10, 20))
    spool.close()
