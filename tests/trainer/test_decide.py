"""The pure parts: what to do next, who may start next, how far a job is, which parameters hold."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.training.v1 import JobEvent
from bloomery.training.v1 import Progress as ProgressMessage
from bloomery_kit.errors import BloomeryError, Violations
from bloomery_kit.quotas import Limits
from bloomery_trainer import actions, progress, reasons
from bloomery_trainer.admission import obstacles
from bloomery_trainer.decide import Facts, decide, settle
from bloomery_trainer.launcher import Launched, Phase, Termination
from bloomery_trainer.model import (
    ACTIVE,
    SUCCESSORS,
    TERMINAL,
    Attempt,
    Job,
    Kind,
    Outcome,
    Progress,
    Reason,
    Resources,
    Spec,
    State,
    Task,
)
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Catalogue
from bloomery_trainer.settings import Policy
from tests.recipe_files import texts
from tests.trainer.hand import metrics

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy(queue_timeout=1000)
HERE = Path(__file__).parent


def job_in(state: State, **fields: Any) -> Job:
    spec = Spec(Kind.TRAIN, "recipes/r", Task.DETECT, {}, {}, fields.pop("resources", Resources(1, 1, 0)))
    values: dict[str, Any] = {
        "uid": "u",
        "number": 1,
        "project": "projects/p",
        "project_uid": "p",
        "job_id": "j",
        "display_name": "j",
        "labels": {},
        "group": "",
        "spec": replace(spec, deadline_seconds=fields.pop("deadline_seconds", 0)),
        "priority": 0,
        "creator": "c",
        "state": state,
        "version": 1,
        "reason": None,
        "attempt": 1,
        "failures": 0,
        "infra_failures": 0,
        "retry_delay": 0.0,
        "force": False,
        "holder": "projects/p/jobs/u",
        "held": True,
        "deleted": False,
        "progress": Progress(),
        "last_sequence": 1,
        "oldest_sequence": 1,
        "worked_seconds": 0.0,
        "create_time": NOW,
        "queue_time": NOW,
        "update_time": NOW,
        "start_time": None,
        "end_time": None,
    }
    return Job(**values | fields)


def attempt(**fields: Any) -> Attempt:
    values: dict[str, Any] = {
        "job_uid": "u",
        "number": 1,
        "nonce": "n",
        "worker_id": "w",
        "host": "h",
        "worker_sequence": 0,
        "reports": 0,
        "stalled": False,
        "publishing": False,
        "create_time": NOW,
        "launched_at": NOW,
        "started_at": NOW,
        "ended_at": None,
        "outcome": None,
        "end_reason": None,
        "finish_state": None,
    }
    return Attempt(**values | fields)


seconds = st.sampled_from([0.0, 5.0, 50.0, 500.0, 5_000.0])
reason_codes = st.sampled_from(
    ["IMAGE_PULL", "WORKER_LOST", "STALLED", "OOM_HOST", "OOM_GPU", "CONFIG_ERROR", "EVICTED"]
)
some_reasons = st.builds(Reason, reason_codes, st.just("m"), st.just("h"), st.booleans())
incarnations = st.sampled_from(["", "pod-1", "pod-2"])
launched_things = st.builds(
    Launched,
    st.just("u"),
    st.just(1),
    st.sampled_from(Phase),
    st.sampled_from([None, 0, 1, 42, 43, 44, 137, -9]),
    st.none() | st.builds(Termination, st.integers(0, 255), st.booleans(), st.none() | some_reasons),
    st.none() | some_reasons,
    incarnations,
)
attempts = st.builds(
    attempt,
    worker_id=st.none() | st.just("w"),
    incarnation=incarnations,
    launched_at=st.none() | st.just(NOW),
    outcome=st.none() | st.sampled_from([Outcome.FAILURE, Outcome.STOPPED, Outcome.CONDEMNED]),
    end_reason=st.none() | some_reasons,
)
facts = st.builds(
    Facts,
    job=st.builds(
        job_in,
        st.sampled_from(State),
        failures=st.integers(0, 3),
        infra_failures=st.integers(0, 11),
        force=st.booleans(),
        held=st.booleans(),
        retry_delay=seconds,
        deadline_seconds=st.integers(0, 100),
        reason=st.none() | some_reasons,
    ),
    attempt=attempts,
    launched=st.none() | launched_things,
    obstacle=st.none() | some_reasons,
    waited=seconds,
    silent=seconds,
    refused=seconds,
    told=seconds,
    stalled=seconds,
    ended=seconds,
    queued=seconds,
    worked=seconds,
)
TARGETS: dict[type, State] = {
    actions.Launch: State.QUEUED,
    actions.Prepare: State.PREPARING,
    actions.Requeue: State.QUEUED,
    actions.Retry: State.PENDING,
    actions.Fail: State.FAILED,
    actions.Pause: State.PAUSED,
    actions.Cancel: State.CANCELLED,
}


@given(facts)
def test_every_move_is_in_the_state_table(known: Facts) -> None:
    action = decide(known, POLICY)
    wanted = action.otherwise if isinstance(action, actions.Adopt) else action
    if type(wanted) in TARGETS:
        assert TARGETS[type(wanted)] in SUCCESSORS[known.job.state]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.RUNNING, Phase.SUSPENDED])
@settings(max_examples=20)
@given(facts)
def test_nothing_starts_ends_or_waits_again_while_something_runs(state: State, phase: Phase, known: Facts) -> None:
    leaving = (
        actions.Launch,
        actions.Relaunch,
        actions.Retry,
        actions.Pause,
        actions.Cancel,
        actions.Remove,
        actions.Adopt,
    )
    ready = replace(known.job, state=state, held=True, retry_delay=0.0)
    running = replace(known, job=ready, launched=Launched("u", 1, phase), obstacle=None, queued=0.0)
    assert not isinstance(decide(running, POLICY), leaving)


@given(facts)
def test_terminal_jobs_never_move(known: Facts) -> None:
    if known.job.state in TERMINAL:
        assert isinstance(decide(known, POLICY), actions.Wait | actions.Stop | actions.Remove)


@given(facts)
def test_no_reason_is_repeated(known: Facts) -> None:
    action = decide(known, POLICY)
    if isinstance(action, actions.Note) and action.reason is not None:
        assert not action.reason.says_the_same(known.job.reason)


@given(facts)
def test_only_what_is_worth_it_is_tried_again(known: Facts) -> None:
    action = decide(known, POLICY)
    if isinstance(action, actions.Retry):
        used = known.job.infra_failures if action.infrastructure else known.job.failures
        assert action.reason.retriable
        assert used < (POLICY.infra_retries if action.infrastructure else POLICY.retries)
        assert POLICY.retry_delay <= action.delay <= POLICY.retry_delay_max


@given(facts)
def test_an_active_job_whose_worker_is_gone_never_just_waits(known: Facts) -> None:
    gone = known.launched is None or known.launched.phase is Phase.ENDED
    if known.job.state in ACTIVE and gone:
        assert not isinstance(decide(known, POLICY), actions.Wait | actions.Note | actions.Stop)


@pytest.mark.parametrize("code", sorted(reasons.REFUSALS))
def test_what_keeps_a_worker_from_its_start_may_pass(code: str) -> None:
    reason = Reason(code, "m", retriable=True)
    refused = Launched("u", 1, Phase.WAITING, reason=reason)
    queued = Facts(job_in(State.QUEUED), attempt(worker_id=None), refused, refused=POLICY.refusal_grace)
    assert decide(queued, POLICY) == actions.Note(reason)
    assert decide(replace(queued, refused=POLICY.refusal_grace + 1), POLICY) == actions.Condemn(reason)


def test_the_same_reason_in_other_words_is_told_now_and_then_only() -> None:
    def waits(message: str, code: str = "UNSCHEDULABLE_GPU") -> Launched:
        return Launched("u", 1, Phase.WAITING, reason=Reason(code, message))

    known = job_in(State.QUEUED, reason=Reason("UNSCHEDULABLE_GPU", "0/5 nodes are available"))
    queued = Facts(known, attempt(worker_id=None), waits("0/6 nodes are available"), told=5)
    assert decide(queued, POLICY) == actions.Wait()
    assert isinstance(decide(replace(queued, told=61), POLICY), actions.Note)
    assert isinstance(decide(replace(queued, launched=waits("x", "QUOTA_WAIT")), POLICY), actions.Note)


def test_the_delay_doubles_up_to_its_limit() -> None:
    lost = reasons.worker_lost("gone")
    delays = []
    for used in range(10):
        settled = settle(job_in(State.RUNNING, infra_failures=used), lost, POLICY)
        assert isinstance(settled, actions.Retry)
        delays.append(settled.delay)
    assert delays == [10, 20, 40, 80, 160, 320, 360, 360, 360, 360]


class TestAdmission:
    CAPACITY = Resources(2, 100, 1)

    def started(self, waiting: Sequence[Job], busy: Sequence[Job] = (), **options: Any) -> list[str]:
        held_up = obstacles(waiting, busy, self.CAPACITY, **options)
        return [job.uid for job in waiting if job.uid not in held_up]

    def jobs(self, *fields: dict[str, Any]) -> list[Job]:
        return [job_in(State.PENDING, uid=f"u{number}", number=number, **each) for number, each in enumerate(fields)]

    def test_jobs_start_until_the_machine_is_full(self) -> None:
        assert self.started(self.jobs({}, {}, {})) == ["u0", "u1"]

    def test_a_higher_priority_goes_first(self) -> None:
        assert self.started(self.jobs({}, {}, {"priority": 1})) == ["u0", "u2"]

    def test_projects_take_turns(self) -> None:
        assert self.started(self.jobs({}, {}, {"project": "projects/q"})) == ["u0", "u2"]

    def test_the_busy_ones_count(self) -> None:
        busy = self.jobs({"project": "projects/q"})
        waiting = self.jobs({"project": "projects/q"}, {})
        assert self.started(waiting, busy) == ["u1"]

    def test_a_large_job_is_not_overtaken_for_ever(self) -> None:
        waiting = self.jobs({"resources": Resources(2, 1, 0)}, {})
        assert self.started(waiting, self.jobs({})) == []

    def test_a_job_that_waits_for_a_gpu_does_not_hold_up_others(self) -> None:
        gpu = {"resources": Resources(0, 1, 1)}
        assert self.started(self.jobs(gpu, {}), self.jobs(gpu)) == ["u1"]

    def test_more_cores_than_there_are_is_no_obstacle(self) -> None:
        assert self.started(self.jobs({"resources": Resources(64, 1, 0)})) == ["u0"]

    def test_what_never_fits_takes_nothing_away(self) -> None:
        assert self.started(self.jobs({"resources": Resources(1, 1000, 0)}, {}, {})) == ["u1", "u2"]

    def test_a_project_may_be_bounded(self) -> None:
        small = {"resources": Resources(0, 1, 0)}
        waiting = self.jobs(small, small, small | {"project": "projects/q"})
        assert self.started(waiting) == ["u0", "u1", "u2"]
        assert self.started(waiting, per_project=1) == ["u0", "u2"]

    def test_the_quota_of_a_project_bounds_its_jobs(self) -> None:
        small = {"resources": Resources(0, 1, 0)}
        waiting = self.jobs(small, small, small | {"project": "projects/q"})
        assert self.started(waiting, quotas={"projects/p": Limits(running_jobs=1)}) == ["u0", "u2"]
        assert self.started(waiting, quotas={"projects/p": Limits(running_jobs=0)}) == ["u2"]
        assert self.started(waiting, per_project=1, quotas={"projects/p": Limits(running_jobs=9)}) == ["u0", "u2"]
        held_up = obstacles(waiting, (), None, quotas={"projects/p": Limits(running_jobs=1)})
        assert held_up["u1"].code == "QUOTA_WAIT"
        assert held_up["u1"].message == "projects/p has 1 jobs at work and may have 1"

    def test_the_quota_of_a_project_bounds_its_gpus(self) -> None:
        two, none = {"resources": Resources(0, 1, 2)}, {"resources": Resources(0, 1, 0)}
        waiting, quotas = self.jobs(two, none), {"projects/p": Limits(gpus=3)}
        held_up = obstacles(waiting, self.jobs(two), None, quotas=quotas)
        assert [*held_up] == ["u0"]
        assert held_up["u0"].message == "projects/p has 2 GPUs at work and may have 3; the job asks for 2"

    def test_a_job_of_many_gpus_is_not_overtaken_for_ever(self) -> None:
        one, four = {"resources": Resources(0, 1, 1)}, {"resources": Resources(0, 1, 4)}
        held_up = obstacles(self.jobs(four, one), self.jobs(one), None, quotas={"projects/p": Limits(gpus=4)})
        assert [*held_up] == ["u0", "u1"]

    def test_a_job_of_more_gpus_than_its_project_may_ever_have_holds_up_no_other(self) -> None:
        one, nine = {"resources": Resources(0, 1, 1)}, {"resources": Resources(0, 1, 9)}
        held_up = obstacles(self.jobs(nine, one), (), None, quotas={"projects/p": Limits(gpus=4)})
        assert [*held_up] == ["u0"]

    def test_a_project_whose_quota_nobody_knows_waits(self) -> None:
        held_up = obstacles(self.jobs({}, {"project": "projects/q"}), (), None, quotas={"projects/p": None})
        assert [(uid, reason.code) for uid, reason in held_up.items()] == [("u0", "QUOTA_WAIT")]

    def test_without_a_capacity_everything_starts(self) -> None:
        assert obstacles(self.jobs(*[{}] * 50), [], None) == {}

    @given(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 2), st.sampled_from("pqr")), max_size=20
        )
    )
    def test_the_machine_is_never_overbooked(self, asked: list[tuple[int, int, int, str]]) -> None:
        waiting = self.jobs(*[{"resources": Resources(c, m, g), "project": p} for c, m, g, p in asked])
        started = [job for job in waiting if job.uid in self.started(waiting)]
        assert sum(min(job.spec.resources.cpus, 2) for job in started) <= 2
        assert sum(job.spec.resources.memory_bytes for job in started) <= 100
        assert sum(job.spec.resources.gpus for job in started) <= 1


class TestProgress:
    def test_no_estimate_before_an_epoch_was_timed(self) -> None:
        before = progress.advanced(Progress(epochs=10), "training", [metrics(0, step=1, at=0)])
        assert before.eta_seconds is None

    def test_the_estimate_is_the_median_epoch_times_what_is_left(self) -> None:
        state = Progress(epochs=10)
        ends = [0.0, 30.0, 40.0, 50.0, 60.0]
        for epoch, at in enumerate(ends):
            state = progress.advanced(state, "training", [metrics(epoch, at=at, epoch_end=epoch > 0)])
        assert state.eta_seconds == pytest.approx(60.0)
        assert state.fraction == pytest.approx(0.4)

    def test_an_epoch_that_seems_to_end_before_it_began_is_not_timed(self) -> None:
        state = Progress(epochs=10)
        estimates = []
        for epoch, at in enumerate([3600.0, 10.0, 20.0], 1):
            state = progress.advanced(state, "training", [metrics(epoch, at=at, epoch_end=True)])
            estimates.append(state.eta_seconds)
        assert estimates == [None, None, pytest.approx(70.0)]

    def test_watchers_are_told_the_estimate_with_every_progress(self) -> None:
        event = JobEvent(progress=ProgressMessage(phase="training", epoch=4, fraction=0.9))
        progress.tell_watchers([event], Progress(epochs=10, fraction=0.4, eta_seconds=60.0))
        assert (event.progress.fraction, event.progress.eta_seconds) == (0.4, 60.0)

    def test_a_resumed_attempt_times_anew(self) -> None:
        old = Progress(epochs=10, epoch=4, durations=(10.0,), mark=5.0, eta_seconds=60.0)
        begun = progress.started(old, 3)
        assert (begun.epoch, begun.eta_seconds, begun.durations, begun.fraction) == (3, None, (), 0.3)

    def test_what_the_worker_tells_is_taken_over(self) -> None:
        event = JobEvent(progress=ProgressMessage(device="cpu", epochs=5, steps=20, phase="training"))
        state = progress.advanced(Progress(), "", [event, metrics(1, step=30)])
        assert (state.device, state.epochs, state.step, state.phase) == ("cpu", 5, 10, "training")

    @given(st.lists(st.tuples(st.integers(0, 10), st.booleans(), st.floats(0, 1e6)), max_size=30))
    def test_progress_stays_within_its_bounds(self, reported: list[tuple[int, bool, float]]) -> None:
        state, last = Progress(epochs=10), 0.0
        for epoch, end, at in reported:
            state = progress.advanced(state, "training", [metrics(epoch, epoch_end=end, at=at)])
            assert last <= state.fraction <= 1
            assert state.eta_seconds is None or state.eta_seconds >= 0
            last = state.fraction


class TestRecipes:
    def test_everything_wrong_in_every_file_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        good = (HERE / "recipes/scripted/recipe.yaml").read_text()
        wrong = (
            good.replace("task: detect", "task: juggle")
            .replace("version:", "versoin:")
            .replace("default: 2,", "default: 0,")
        )
        with caplog.at_level(logging.INFO):
            catalogue = Catalogue.load({"a": good, "b": wrong, "c": good, "d": "- [not a recipe"})
        told = "\n".join(str(record.__dict__.get("problem", "")) for record in caplog.records)
        for part in ("task", "versoin", "version", "between 1 and 1000", "taken by another", "d: "):
            assert part in told
        assert [recipe.name for recipe in catalogue.list()] == ["scripted"]
        assert caplog.records[-1].__dict__["recipes"] == 1

    def test_a_wrong_number_is_told_as_it_was_typed(self) -> None:
        recipe = Catalogue.load(texts(HERE / "recipes")).get("recipes/scripted")
        told = []
        for given_value in (0.0, -3.5):
            violations = Violations()
            effective_parameters(recipe, Kind.TRAIN, {"epochs": given_value}, violations)
            with pytest.raises(BloomeryError) as caught:
                violations.raise_if_any()
            told.append(str(caught.value))
        assert told[0].endswith(", not 0")
        assert told[1].endswith(", not -3.5")

    @given(
        st.dictionaries(
            st.sampled_from(["epochs", "rate", "flip", "optimizer", "epcohs"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        )
    )
    def test_parameters_are_valid_or_named(self, given_values: dict[str, object]) -> None:
        recipe = Catalogue.load(texts(HERE / "recipes")).get("recipes/scripted")
        violations = Violations()
        effective = effective_parameters(recipe, Kind.TRAIN, given_values, violations)
        known = recipe.parameters_of(Kind.TRAIN)
        assert all(known[name].problem_with(value) is None for name, value in effective.items())
        if not violations:
            assert effective.keys() == known.keys() - {name for name, value in given_values.items() if value is None}
