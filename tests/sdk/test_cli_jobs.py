"""The commands of jobs as people type them: starting, following, grouping, changing."""

import json
import signal
import subprocess
import sys
import time

import pytest
from google.protobuf import struct_pb2

from bloomery.cli._pairs import seconds, size
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake, Hang


def test_settings_keep_their_types(fake: Fake, run: Run) -> None:
    words = "--set epochs=5 --set lr=1e-3 --set amp=true --set optimizer=adamw --set a=b=c --set tag=null"
    run(f"train cells-v@1 --recipe yolo-detect --model m --base scratch --name run-1 {words}")
    [request] = fake.calls["CreateJob"]
    assert dict(request.job.parameters) == {
        "epochs": 5.0,
        "lr": 0.001,
        "amp": True,
        "optimizer": "adamw",
        "a": "b=c",
        "tag": "null",
    }
    assert (request.job.model, request.job.base, request.job_id) == ("projects/cells/models/m", "scratch", "run-1")


def test_whole_numbers_among_parameters_are_written_as_such(fake: Fake, run: Run) -> None:
    job = training.Job(name=world.JOB.name)
    job.effective_parameters.update({"images": 32, "rate": 0.5, "amp": True})
    fake.answer("GetJob", job)
    assert '"images": 32.0' not in run("jobs show j1 -o json").stdout
    assert "images: 32\n" in run("jobs show j1 -o yaml").stdout
    assert json.loads(run("jobs show j1 -o json").stdout)["effectiveParameters"] == {
        "images": 32,
        "rate": 0.5,
        "amp": True,
    }


def test_a_training_takes_its_place_in_the_queue_and_of_the_machine(fake: Fake, run: Run) -> None:
    place = "--priority 5 --deadline 1h30m --label team=cells --label run=2 --cpus 1.5 --memory 4GiB --gpus 1"
    assert run(f"train cells-v@1 --recipe yolo-detect {place}").exit_code == 0
    [job] = [call.job for call in fake.calls["CreateJob"]]
    assert (job.priority, job.deadline_seconds, dict(job.labels)) == (5, 5400, {"team": "cells", "run": "2"})
    assert job.resources == training.Resources(cpus=1.5, memory_bytes=4 << 30, gpus=1)


@pytest.mark.parametrize("wrong", ["--deadline soon", "--deadline 2y", "--memory lots", "--memory 4XB", "--label team"])
def test_what_is_no_duration_size_or_label_is_a_wrong_command_line(fake: Fake, run: Run, wrong: str) -> None:
    assert run(f"train cells-v@1 --recipe yolo-detect {wrong}").exit_code == 2
    assert "CreateJob" not in fake.calls


@pytest.mark.parametrize(
    ("text", "count"), [("2h", 7200), ("90m", 5400), ("1d12h", 129600), ("30", 30), ("0.5h", 1800)]
)
def test_durations(text: str, count: float) -> None:
    assert seconds(text) == count


@pytest.mark.parametrize(("text", "count"), [("4GiB", 4 << 30), ("4g", 4 << 30), ("500MB", 500_000_000), ("7", 7)])
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


def test_a_job_is_updated_in_what_is_given_alone(fake: Fake, run: Run) -> None:
    fake.answer("ListJobs", training.ListJobsResponse(jobs=[world.JOB]))
    fake.answer("GetJob", training.Job(name=world.JOB.name, labels={"team": "cells"}))
    run("jobs update j1 --priority 0")
    run("jobs update j1 --label run=2 --name Second")
    assert run("jobs update j1").exit_code == 0
    first, second = fake.calls["UpdateJob"]
    assert (list(first.update_mask.paths), first.job.priority) == (["priority"], 0)
    assert list(second.update_mask.paths) == ["display_name", "labels"]
    assert (second.job.display_name, dict(second.job.labels)) == ("Second", {"team": "cells", "run": "2"})


def test_jobs_are_filtered_by_options(fake: Fake, run: Run) -> None:
    run("jobs list --state running --kind TRAIN --group sweep --label team=cells --filter active")
    expected = "active AND state:RUNNING AND kind:TRAIN AND group:sweep AND label.team:cells"
    assert fake.calls["ListJobs"][0].filter == expected


def test_a_list_says_what_each_job_makes_or_works_on(fake: Fake, run: Run) -> None:
    version = world.MODEL_VERSION.name
    form = struct_pb2.Struct()
    form.update({"format": "onnx", "precision": "int8"})
    jobs = [
        training.Job(name="projects/cells/jobs/a", kind=training.JOB_KIND_TRAIN, model=world.MODEL.name),
        training.Job(name="projects/cells/jobs/b", kind=training.JOB_KIND_EVALUATE, model_variant=world.VARIANT.name),
        training.Job(
            name="projects/cells/jobs/c", kind=training.JOB_KIND_OPTIMIZE, model_version=version, parameters=form
        ),
    ]
    fake.answer("ListJobs", training.ListJobsResponse(jobs=jobs))
    titles, *rows = run("jobs list").stdout.splitlines()
    place = titles.index("MODEL")
    assert [row[place:].split()[0] for row in rows] == ["cells-v", "cells-v@1/onnx-fp32", "cells-v@1/onnx-int8"]


def test_a_grid_starts_every_combination_once_all_are_checked(fake: Fake, run: Run) -> None:
    grid = "--grid lr0=0.01,0.1 --grid optimizer=sgd,adamw --set epochs=2 --group sweep"
    result = run(f"train cells-v@1 --recipe yolo-detect {grid}")
    assert result.exit_code == 0
    assert "projects/cells/jobGroups/sweep" in result.stdout
    calls = fake.calls["CreateJob"]
    assert [call.validate_only for call in calls] == [True] * 4 + [False] * 4
    given = [dict(call.job.parameters) for call in calls[4:]]
    pairs = [(0.01, "sgd"), (0.01, "adamw"), (0.1, "sgd"), (0.1, "adamw")]
    assert given == [{"epochs": 2, "lr0": rate, "optimizer": name} for rate, name in pairs]
    assert {call.job.group for call in calls} == {"sweep"}


def test_values_of_a_grid_may_be_given_one_by_one(fake: Fake, run: Run) -> None:
    run("train cells-v@1 --recipe yolo-detect --grid lr0=0.01 --grid lr0=0.1,0.2 --group sweep")
    started = [call for call in fake.calls["CreateJob"] if not call.validate_only]
    assert [call.job.parameters["lr0"] for call in started] == [0.01, 0.1, 0.2]


def test_a_grid_with_a_wrong_value_starts_nothing(fake: Fake, run: Run) -> None:
    bad = served.InvalidArgument([served.FieldViolation("job.parameters.lr0", "must be at most 1")])
    fake.queue("CreateJob", bad)
    assert run("train cells-v@1 --recipe yolo-detect --grid lr0=7,0.1 --group sweep").exit_code == 4
    assert [call.validate_only for call in fake.calls["CreateJob"]] == [True]


@pytest.mark.parametrize("rest", ["", "--group sweep --name one"])
def test_a_grid_is_a_group_of_many(fake: Fake, run: Run, rest: str) -> None:
    assert run(f"train cells-v@1 --recipe yolo-detect --grid lr0=0.1,0.2 {rest}").exit_code == 2
    assert "CreateJob" not in fake.calls


def test_a_group_shows_in_what_its_jobs_differ(fake: Fake, run: Run) -> None:
    jobs = [training.Job(name=f"projects/cells/jobs/j{number}") for number in (1, 2)]
    for job, rate in zip(jobs, (0.01, 0.1), strict=True):
        job.effective_parameters.update({"lr0": rate, "epochs": 3})
    fake.answer("ListJobs", training.ListJobsResponse(jobs=jobs))
    shown = run("groups show sweep").stdout
    assert "lr0" in shown
    assert "epochs" not in shown
    assert fake.calls["ListJobs"][-1].filter == "group:sweep"


def test_jobs_of_a_group_may_have_other_parameters(fake: Fake, run: Run) -> None:
    jobs = [training.Job(name=f"projects/cells/jobs/j{number}") for number in (1, 2)]
    jobs[0].effective_parameters.update({"erasing": 0.4})
    fake.answer("ListJobs", training.ListJobsResponse(jobs=jobs))
    result = run("groups show sweep")
    assert result.exit_code == 0
    assert "erasing" in result.stdout


@pytest.mark.parametrize(("states", "code"), [({"SUCCEEDED": 2}, 0), ({"SUCCEEDED": 1, "FAILED": 1}, 1)])
def test_following_a_group_fails_where_one_of_its_jobs_does(
    fake: Fake, run: Run, states: dict[str, int], code: int
) -> None:
    fake.script("WatchJob", world.watched(world.JOB, world.EVENTS))
    fake.answer("GetJobGroup", training.JobGroup(name=world.GROUP.name, job_count=2, state_counts=states))
    result = run("train cells-v@1 --recipe yolo-detect --grid lr0=0.1,0.2 --group sweep --follow")
    assert result.exit_code == code
    assert "projects/cells/jobGroups/sweep" in result.stdout
    assert ("of 2 jobs in the group sweep: 1 FAILED" in result.stderr) is bool(code)


def test_following_shows_each_epoch_and_the_model_last(run: Run) -> None:
    result = run("train cells-v@1 --recipe yolo-detect --follow")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == "job j1"
    assert "RUNNING" in lines
    assert "phase training" in lines
    assert "epoch 1/2  train/box_loss 2  val/map50 0.4  ETA 1m30s" in lines
    assert "log: the base weights are missing" in lines
    assert lines[-1] == "SUCCEEDED"
    assert "projects/cells/models/cells-v/versions/1" in result.stdout
    assert "0.91" in result.stdout


def test_following_with_json_writes_the_model_version_alone(run: Run) -> None:
    found = json.loads(run("train cells-v@1 --recipe yolo-detect --follow -o json").stdout)
    assert found["name"] == world.MODEL_VERSION.name


def test_a_job_that_fails_exits_with_1_and_its_hint(fake: Fake, run: Run) -> None:
    reason = training.Reason(code="OOM_HOST", message="out of memory", hint="use batch=2")
    failed = training.Job(
        name=world.JOB.name,
        kind=training.JOB_KIND_TRAIN,
        state=training.JOB_STATE_FAILED,
        reason=reason,
        last_sequence=1,
    )
    fake.answer("GetJob", failed)
    fake.script("WatchJob", world.watched(failed, [world.state(1, training.JOB_STATE_FAILED, reason)]))
    result = run("jobs watch j1")
    assert result.exit_code == 1
    assert "FAILED OOM_HOST out of memory; use batch=2" in result.stderr
    assert "hint: use batch=2" in result.stderr


def test_an_interrupted_command_exits_with_130(fake: Fake, run: Run) -> None:
    fake.script(
        "WatchJob", lambda request: [training.WatchJobResponse(snapshot=training.Job(name=world.JOB.name)), Hang()]
    )
    script = "from bloomery._command import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script, "jobs", "watch", "j1"], stderr=subprocess.PIPE, text=True
    ) as typed:
        while not fake.calls["WatchJob"]:
            time.sleep(0.05)
        time.sleep(0.3)
        typed.send_signal(signal.SIGINT)
        _, stderr = typed.communicate(timeout=20)
    assert typed.returncode == 130
    assert stderr.startswith("detached: j1 goes on")


def test_logs_are_lines(run: Run) -> None:
    assert run("jobs logs j1").stdout == "1970-01-01T00:00:00Z INFO trainer: epoch 1 done\n"
