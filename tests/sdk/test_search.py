"""Searches: what is tried, that a repeat starts nothing twice, and which trial is the best."""

import math
from dataclasses import dataclass
from itertools import pairwise

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st

from bloomery import Client, errors
from bloomery._fields import JobFields
from bloomery._search import ETA, ranked, read_range, rounds, trials
from bloomery.common import v1 as common
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

TRAIN = "train cells-v@1 --recipe yolo-detect"


def rate(job: training.Job) -> float:
    return job.parameters.fields["lr0"].number_value


@pytest.fixture
def jobs(fake: Fake) -> dict[str, training.Job]:
    """Jobs that are kept under their names, each over at once, the better the larger its rate."""
    world.settle(fake)
    kept: dict[str, training.Job] = {}

    def create(request: training.CreateJobRequest) -> training.Job:
        name = f"{request.parent}/jobs/{request.job_id}"
        if request.validate_only:
            return request.job
        if name in kept:
            raise served.AlreadyExists("job", name)
        made = training.Job()
        made.CopyFrom(request.job)
        made.name, made.state = name, training.JOB_STATE_SUCCEEDED
        made.last_sequence = made.oldest_sequence = 1
        made.effective_parameters.CopyFrom(made.parameters)
        made.result.metrics["val/map50_95"] = rate(made)
        kept[name] = made
        return made

    def listed(request: training.ListJobsRequest) -> training.ListJobsResponse:
        group = request.filter.removeprefix("group:")
        return training.ListJobsResponse(jobs=[job for job in reversed(kept.values()) if job.group == group])

    fake.answer("CreateJob", create)
    fake.answer("GetJob", lambda request: kept[request.name])
    fake.answer("ListJobs", listed)
    fake.script("WatchJob", lambda request: world.watched(kept[request.name], [])(request))
    return kept


def test_trials_are_drawn_and_called_by_their_number(run: Run, jobs: dict[str, training.Job]) -> None:
    space = "--set lr0=log:1e-4..1e-2 --set batch=4..8 --set optimizer=AdamW|SGD --set epochs=2"
    result = run(f"{TRAIN} --search 5 {space} --group sweep")
    assert result.exit_code == 0, result.output
    assert [name.rpartition("/")[2] for name in jobs] == [f"sweep-{number:03}" for number in range(1, 6)]
    for job in jobs.values():
        tried = MessageToDict(job.parameters)
        assert 1e-4 <= tried["lr0"] <= 1e-2
        assert tried["batch"] in {4, 5, 6, 7, 8}
        assert tried["optimizer"] in {"AdamW", "SGD"}
        assert tried["epochs"] == 2


def test_a_search_that_was_interrupted_is_repeated_and_starts_what_is_missing(
    fake: Fake, run: Run, jobs: dict[str, training.Job]
) -> None:
    command = f"{TRAIN} --search 3 --set lr0=0.1..0.9 --group sweep"
    assert run(command).exit_code == 0
    before = {name: job.SerializeToString() for name, job in jobs.items()}
    del jobs["projects/cells/jobs/sweep-002"]
    assert run(command).exit_code == 0
    assert {name: job.SerializeToString() for name, job in jobs.items()} == before
    assert run(command.replace("--search 3", "--search 4")).exit_code == 0
    assert len(jobs) == 4


def test_a_job_that_is_called_as_a_trial_is_no_trial(run: Run, jobs: dict[str, training.Job]) -> None:
    assert run(f"{TRAIN} --search 2 --set lr0=0.1..0.9 --group sweep").exit_code == 0
    result = run(f"{TRAIN} --search 2 --set lr0=0.1..0.9 --search-seed 1 --group sweep")
    assert result.exit_code != 0
    assert "sweep-001" in result.stderr
    assert len(jobs) == 2


@pytest.mark.parametrize("other", ["--recipe yolo-segment", "--base scratch", "--model others"])
def test_a_job_of_another_recipe_base_or_model_is_no_trial(run: Run, jobs: dict[str, training.Job], other: str) -> None:
    command = f"{TRAIN} --search 2 --set lr0=0.1..0.9 --group sweep"
    assert run(command).exit_code == 0
    result = run(f"{command} {other}")
    assert result.exit_code != 0
    assert "sweep-001" in result.stderr


def test_a_halving_trains_the_better_ones_for_longer(run: Run, jobs: dict[str, training.Job]) -> None:
    command = f"{TRAIN} --search 9 --halving --set lr0=0.1..0.9 --set epochs=9 --group sweep"
    result = run(command)
    assert result.exit_code == 0, result.output
    by_round: dict[str, list[training.Job]] = {}
    for name, job in jobs.items():
        by_round.setdefault(name.split("-")[1], []).append(job)
    assert {number: len(found) for number, found in by_round.items()} == {"1": 9, "2": 3, "3": 1}
    assert [by_round[number][0].parameters["epochs"] for number in "123"] == [1, 3, 9]
    rates = sorted(rate(job) for job in by_round["1"])
    assert sorted(rate(job) for job in by_round["2"]) == rates[-3:]
    assert by_round["3"][0].parameters["lr0"] == rates[-1]
    assert run(command).exit_code == 0
    assert len(jobs) == 13


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        ("--search 2 --set lr0=0.1..0.9", "--group"),
        ("--search 2 --set lr0=0.1..0.9 --group a --grid imgsz=1,2", "--grid"),
        ("--halving --set lr0=0.1..0.9 --group a", "--search N"),
        ("--search 2 --halving --set lr0=0.1..0.9 --group a", "epochs=N"),
        ("--search 2 --set lr0=0.1 --group a", "a parameter to try"),
        ("--search 2 --set lr0=0.9..0.1 --group a", "no range"),
        ("--search 2 --set lr0=log:0..0.1 --group a", "no range"),
    ],
)
def test_a_search_that_makes_no_sense_starts_nothing(
    fake: Fake, run: Run, jobs: dict[str, training.Job], rest: str, problem: str
) -> None:
    result = run(f"{TRAIN} {rest}")
    assert result.exit_code not in (0, 1)
    assert problem in " ".join(result.stderr.replace("│", " ").split())
    assert not jobs


def test_the_best_of_a_group_is_shown(run: Run, jobs: dict[str, training.Job]) -> None:
    run(f"{TRAIN} --search 4 --set lr0=0.1..0.9 --group sweep")
    name = max(jobs, key=lambda each: rate(jobs[each]))
    assert name in run("groups best sweep").stdout
    result = run("groups best sweep --by recall/rbc")
    assert result.exit_code == 3
    assert "val/map50_95" in result.stderr


def test_handles_find_the_best_by_any_measurement(client: Client, jobs: dict[str, training.Job]) -> None:
    version = client.dataset_version("projects/cells/datasets/cells-v/versions/1")
    group = version.train_search("yolo-detect", {"lr0": [0.2, 0.4]}, 6, group="sweep", epochs=2)
    for job, loss in zip(jobs.values(), (3, 1, 2, 5, 6, 4), strict=True):
        assert job.parameters["epochs"] == 2
        job.progress.metrics["val/box_loss"] = loss
    assert group.best("box_loss").id == "sweep-002"
    with pytest.raises(errors.NotFound):
        group.best("nothing")


SPACES = st.dictionaries(
    st.sampled_from(["lr0", "batch", "optimizer"]),
    st.one_of(
        st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda ends: f"{ends[0]}..{ends[0] + ends[1]}"),
        st.sampled_from(["log:1e-4..1e-2", "0.25..0.75", "log:2..64"]),
        st.lists(st.sampled_from([1, 2.5, "a", True]), min_size=1, max_size=4),
    ),
    min_size=1,
)


@given(SPACES, st.integers(1, 20), st.integers(0, 1000), st.integers(0, 20))
def test_draws_lie_in_their_ranges_and_depend_on_seed_and_number_alone(
    space: dict[str, object], count: int, seed: int, more: int
) -> None:
    # Property: a trial is the same for the same seed, however many there are, and never leaves its ranges.
    drawn = trials(space, count, seed)  # type: ignore[arg-type]
    assert trials(space, count + more, seed)[:count] == drawn  # type: ignore[arg-type]
    for trial in drawn:
        assert trial.keys() == space.keys()
        for name, values in space.items():
            if isinstance(values, str):
                found = read_range(values)
                assert found is not None
                value = trial[name]
                assert isinstance(value, int | float)
                assert found.low <= value <= found.high
                assert not found.whole or float(value).is_integer()
            else:
                assert trial[name] in values  # type: ignore[operator]


@given(st.integers(1, 200), st.integers(1, 500))
def test_rounds_of_a_halving_never_train_the_same_again(count: int, epochs: int) -> None:
    # Property: from round to round there are fewer trials of more epochs; the last is for all epochs, and of one job
    # unless the first was already.
    plan = rounds(count, epochs)
    assert plan[0][0] == count
    assert plan[-1][1] == epochs
    assert len(plan) == 1 or plan[-1][0] == 1
    for (many, short), (few, long) in pairwise(plan):
        assert few < many
        assert short < long
    assert len(plan) <= math.log(max(count, 2), ETA) + 2


@dataclass
class Shown(JobFields):
    job: training.Job

    @property
    def proto(self) -> training.Job:
        return self.job


def measured(value: float | None, state: str) -> JobFields:
    metrics = {} if value is None else {"val/map50_95": value}
    return Shown(ParseDict({"state": f"JOB_STATE_{state}", "progress": {"metrics": metrics}}, training.Job()))


@given(
    st.lists(st.tuples(st.none() | st.floats(0, 1), st.sampled_from(["SUCCEEDED", "FAILED", "RUNNING"])), max_size=12)
)
def test_the_best_has_succeeded_and_no_other_that_has_is_better(found: list[tuple[float | None, str]]) -> None:
    # Property: only trials that succeeded with the measurement are ranked, each once, by falling value.
    places = ranked([measured(*each) for each in found], "")
    there = [place for place, (value, state) in enumerate(found) if value is not None and state == "SUCCEEDED"]
    assert sorted(places) == there
    values = [found[place][0] or 0.0 for place in places]
    assert values == sorted(values, reverse=True)


def test_to_compare_jobs_leaves_them_as_they_are() -> None:
    job = measured(0.5, "SUCCEEDED")
    before = job.proto.SerializeToString()
    assert ranked([job], "") == [0]
    assert job.proto.SerializeToString() == before


def published(figure: float, *, last: float) -> JobFields:
    job = {
        "state": "JOB_STATE_SUCCEEDED",
        "progress": {"metrics": {"val/recall/platelets": last}},
        "result": {"details": {"of_classes": {"val/recall/platelets": figure}}},
    }
    return Shown(ParseDict(job, training.Job()))


@pytest.mark.parametrize("by", ["recall/platelets", "val/recall/platelets"])
def test_trials_are_compared_by_what_was_published_of_a_class(by: str) -> None:
    assert ranked([published(0.8, last=0.8), published(0.9, last=0.3)], by) == [1, 0]


def test_an_estimate_is_shown_and_starts_nothing(fake: Fake, run: Run) -> None:
    found = training.JobEstimate(
        source=training.JobEstimate.SOURCE_JOBS,
        earlier_jobs=["projects/cells/jobs/a", "projects/cells/jobs/b"],
        seconds=750,
        least_seconds=600,
        most_seconds=900,
        memory_bytes=1 << 30,
        warnings=[common.Problem(code="NO_TEST_IMAGES", message="nothing to test on", hint="build another")],
    )
    fake.answer("EstimateJob", found)
    result = run(f"{TRAIN} --estimate --set epochs=5 --base scratch")
    assert result.exit_code == 0, result.output
    assert "about 12m30s (10m00s to 15m00s)" in result.stdout
    assert "1 GiB for a step" in result.stdout
    assert "2 trainings that succeeded: a, b" in result.stdout
    assert "NO_TEST_IMAGES: nothing to test on; build another" in result.stderr
    [request] = fake.calls["EstimateJob"]
    assert (request.parent, request.job.base, request.job.parameters["epochs"]) == ("projects/cells", "scratch", 5)
    assert "CreateJob" not in fake.calls
