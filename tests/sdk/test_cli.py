"""The commands as people type them."""

import json
import os
import signal
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from typer.main import get_command
from typer.testing import CliRunner

from bloomery.annotation import v1 as annotation
from bloomery.cli import app
from bloomery.cli._output import text
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded

SHOWN: dict[str, tuple[Message, str]] = {
    "project list": (world.PROJECT, "Blood cells"),
    "project show cells": (world.PROJECT, "projects/cells"),
    "project create cells": (annotation.Project(name="projects/cells"), "projects/cells"),
    "imports list": (world.IMPORT, "364/364"),
    "imports show i1": (world.IMPORT, "SUCCEEDED"),
    "assets list": (world.ASSET, "JPEGImages/1.jpg"),
    "assets show a1": (world.ASSET, "640 x 480"),
    "labels list": (world.LABEL, "4155"),
    "labels show rbc": (world.LABEL, "#e6194b"),
    "labels create RBC": (world.LABEL, "RBC"),
    "labels rename RBC RBC": (world.LABEL, "RBC"),
    "project rename cells Blood": (world.PROJECT, "projects/cells"),
    "annotations list": (world.SET, "main"),
    "annotations show a1": (world.SET, "10.0 20.0 30.0 40.0"),
    "dataset list": (world.DATASET, "cells-v@1"),
    "dataset show cells-v@1": (world.VERSION, "RBC             2900"),
    "dataset versions cells-v": (world.VERSION, "RBC, WBC"),
    "dataset build cells-v --split 70/20/10 --seed 7 --kind detect": (world.VERSION, "READY"),
    "recipes list": (world.RECIPE, "AGPL-3.0-only"),
    "recipes show yolo-detect": (world.RECIPE, "sgd|adamw"),
    "train cells-v@1 --recipe yolo-detect": (world.JOB, "projects/cells/jobs/j1"),
    "jobs list": (world.JOB, "100% 2/2 publishing"),
    "jobs show j1": (world.JOB, "recipes/yolo-detect"),
    "jobs cancel j1": (world.JOB, "SUCCEEDED"),
    "jobs update j1 --priority 5": (world.JOB, "SUCCEEDED"),
    "jobs pause j1": (world.JOB, "SUCCEEDED"),
    "jobs resume j1": (world.JOB, "SUCCEEDED"),
    "groups list": (world.GROUP, "1 RUNNING, 2 SUCCEEDED"),
    "groups show sweep": (world.GROUP, "75%"),
    "groups cancel sweep --force": (world.GROUP, "projects/cells/jobGroups/sweep"),
    "models list": (world.MODEL, "cells-v@1"),
    "models versions cells-v": (world.MODEL_VERSION, "test/map50=0.91"),
    "models show cells-v@1": (world.MODEL_VERSION, "onnx-fp32"),
    "evaluate cells-v@1 --on cells-v@1": (world.JOB, "projects/cells/jobs/j1"),
    "predict-batch cells-v@1 --on cells-v@1": (world.JOB, "projects/cells/jobs/j1"),
    "optimize cells-v@1 --to onnx": (world.VARIANT, "passed on 32 images"),
}


@pytest.mark.parametrize("line", SHOWN)
def test_a_table_is_for_people(run: Run, line: str) -> None:
    result = run(line)
    assert result.exit_code == 0, result.output
    assert SHOWN[line][1] in result.stdout


@pytest.mark.parametrize("line", SHOWN)
def test_json_is_the_messages_own_and_yaml_the_same(run: Run, line: str) -> None:
    expected = SHOWN[line][0]
    found = json.loads(run(f"{line} -o json").stdout)
    assert yaml.safe_load(run(f"{line} -o yaml").stdout) == found
    assert ParseDict(found[0] if isinstance(found, list) else found, type(expected)()) == expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (served.NotFound("job", "projects/cells/jobs/j1"), 3),
        (served.InvalidArgument([served.FieldViolation("name", "is wrong")]), 4),
        (served.FailedPrecondition("NOT_READY", "wait for it"), 4),
        (served.ResourceExhausted("DISK_LOW", "free space"), 4),
        (served.Unauthenticated(), 6),
        (served.PermissionDenied("no"), 6),
        (served.Internal("oops"), 1),
    ],
)
def test_an_error_tells_reason_and_code(fake: Fake, run: Run, error: served.BloomeryError, code: int) -> None:
    fake.queue("ListJobs", error)
    result = run("jobs show j1")
    assert (result.exit_code, result.stdout) == (code, "")
    assert error.message in result.stderr
    assert f"reason: {error.reason}" in result.stderr


def test_all_violations_are_told(fake: Fake, run: Run) -> None:
    bad = [served.FieldViolation("job.parameters.epochs", "at least 1"), served.FieldViolation("job.base", "unknown")]
    fake.queue("CreateJob", served.InvalidArgument(bad))
    stderr = run("train cells-v@1 --recipe yolo-detect --set epochs=0").stderr
    assert stderr == (
        "error: 2 things are wrong\n"
        "  job.parameters.epochs: at least 1\n"
        "  job.base: unknown\n"
        "reason: INVALID_ARGUMENT\n"
    )


def test_without_a_server_the_hint_says_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLOOMERY_ENDPOINT")
    result = run("project list")
    assert result.exit_code == 5
    assert "hint: start one with `bloomery up`" in result.stderr


def test_a_wrong_command_line_exits_with_2(run: Run) -> None:
    assert run("train cells-v@1").exit_code == 2
    assert run("train cells-v@1 --recipe r --set epochs").exit_code == 2
    assert run("jobs fly").exit_code == 2
    assert run("project list -o xml").exit_code == 2


def test_a_class_map_reaches_the_build(fake: Fake, run: Run) -> None:
    white = annotation.Label(name="projects/cells/labels/wbc", display_name="WBC")
    fake.answer("ListLabels", annotation.ListLabelsResponse(labels=[world.LABEL, white]))
    run("dataset build d --split official --kind classify --class-map rbc=cell --class-map WBC=")
    spec = fake.calls["CreateDatasetVersion"][0].dataset_version.spec
    assert dict(spec.class_mapping) == {"rbc": "cell", "wbc": ""}
    assert (spec.include_empty, spec.split.method) == (False, spec.split.METHOD_OFFICIAL)


def test_what_a_version_takes_beside_labelled_images_reaches_the_build(fake: Fake, run: Run) -> None:
    run("dataset build d --split official --unassigned none --no-include-empty --include-unannotated")
    run("dataset build d --include-empty")
    first, second = (call.dataset_version.spec for call in fake.calls["CreateDatasetVersion"])
    assert (first.split.unassigned, first.include_empty, first.include_unannotated) == ("none", False, True)
    assert (second.split.unassigned, second.include_empty, second.include_unannotated) == ("", True, False)


def test_a_version_says_what_became_of_all_images_and_shapes(fake: Fake, run: Run) -> None:
    version = dataset.DatasetVersion(name=world.VERSION.name, state=dataset.DatasetVersion.STATE_READY, classes=["RBC"])
    version.statistics.splits.add(split="train", image_count=2, shapes={"RBC": 4}, crowd_count=1)
    version.statistics.skipped_images.update({"not annotated": 2, "no official split": 1})
    version.statistics.skipped_shapes["tag"] = 3
    version.statistics.source_image_count, version.statistics.source_shape_count = 5, 8
    fake.answer("GetDatasetVersion", version)
    lines = (line.partition("  ") for line in run("dataset show cells-v@1").stdout.splitlines())
    shown = {title: value.strip() for title, _, value in lines}
    assert shown["images kept"] == "2 of the project's 5; left out 3: no official split=1, not annotated=2"
    assert shown["shapes kept"] == "5 of the project's 8; left out 3: tag=3"
    assert shown["crowds"] == "1"


def test_of_very_many_classes_the_most_and_the_least_frequent_are_shown(fake: Fake, run: Run) -> None:
    counts = {f"class{n:02}": n for n in range(80)}
    many = dataset.DatasetVersion(name=world.VERSION.name, state=dataset.DatasetVersion.STATE_READY, classes=counts)
    many.statistics.splits.add(split="train", image_count=9, shapes=counts)
    fake.answer("GetDatasetVersion", many)
    lines = [line.split() for line in run("dataset show cells-v@1").stdout.splitlines()]
    table = lines[lines.index(["TRAIN"]) + 3 :]
    assert [row[0] for row in table] == [
        *(f"class{n}" for n in range(79, 69, -1)),
        "...",
        *(f"class{n:02}" for n in range(9, -1, -1)),
    ]
    assert table[10][1] == "60"
    assert "class19 and 60 more" in run("dataset show cells-v@1").stdout


def test_what_is_left_out_changed_and_doubtful_is_shown_with_a_version(fake: Fake, run: Run) -> None:
    version = dataset.DatasetVersion()
    version.CopyFrom(world.VERSION)
    version.statistics.skipped_shapes["outside the image"] = 3
    version.statistics.skipped_images["not annotated"] = 2
    version.statistics.adjusted_shapes["cut at the edge"] = 5
    version.warnings.add(code="NO_TEST_IMAGES", message="none of its 7 images", hint="divide by ratio")
    fake.answer("GetDatasetVersion", version)
    result = run("dataset show cells-v@1")
    for counted in ("outside the image=3", "not annotated=2", "cut at the edge=5"):
        assert counted in result.stdout
    assert result.stderr == "none of its 7 images: divide by ratio\n"


def test_validate_fails_on_errors_and_not_on_warnings(fake: Fake, run: Run) -> None:
    result = run("annotations validate --project cells")
    assert result.exit_code == 0
    assert "364 images checked: 0 errors, 1 warning\n" in result.stdout
    both = annotation.StreamProblemsResponse(problems=[world.WARNING, world.ERROR])
    fake.script("StreamProblems", lambda request: [both])
    result = run("annotations validate --project cells -o json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["errorCount"] == "1"
    assert [problem["code"] for problem in json.loads(result.stdout)["problems"]] == ["TINY_BOX", "BOX_OUTSIDE_IMAGE"]


def test_a_listing_that_is_cut_says_so(fake: Fake, run: Run) -> None:
    two = [annotation.Project(name=f"projects/{name}") for name in ("first", "second")]
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=two))
    result = run("project list --limit 1")
    assert "second" not in result.stdout
    assert "--limit 0" in result.stderr
    assert "second" in run("project list --limit 0").stdout


def test_the_project_comes_from_option_or_environment(fake: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("jobs list --project one")
    monkeypatch.setenv("BLOOMERY_PROJECT", "two")
    run("jobs list")
    monkeypatch.delenv("BLOOMERY_PROJECT")
    run("jobs list")
    assert [call.parent for call in fake.calls["ListJobs"]] == ["projects/one", "projects/two", "projects/-"]


def test_delete_asks_first(fake: Fake, run: Run) -> None:
    fake.answer("DeleteProject", Empty())
    assert run("project delete cells").exit_code == 1
    assert "DeleteProject" not in fake.calls
    assert run("project delete cells --yes").exit_code == 0
    assert len(fake.calls["DeleteProject"]) == 1


DELETED = {
    "dataset delete cells-v": ("DeleteDataset", world.DATASET.name),
    "dataset delete cells-v@1": ("DeleteDatasetVersion", world.VERSION.name),
    f"dataset delete {world.VERSION.name}": ("DeleteDatasetVersion", world.VERSION.name),
    "models delete cells-v@1": ("DeleteModelVersion", world.MODEL_VERSION.name),
    "models delete cells-v --all": ("DeleteModel", world.MODEL.name),
    "assets delete a1": ("DeleteAsset", world.ASSET.name),
    "labels delete rbc": ("DeleteLabel", world.LABEL.name),
    "jobs delete j1": ("DeleteJob", world.JOB.name),
}


@pytest.mark.parametrize("line", DELETED)
def test_what_is_deleted_is_asked_for_first(fake: Fake, run: Run, line: str) -> None:
    method, name = DELETED[line]
    fake.answer(method, Empty())
    assert run(line).exit_code == 1
    assert method not in fake.calls
    assert run(f"{line} --yes").exit_code == 0
    assert [call.name for call in fake.calls[method]] == [name]


def test_shapes_are_deleted_with_their_label_only_where_that_is_said(fake: Fake, run: Run) -> None:
    fake.answer("DeleteLabel", Empty())
    assert "4155 shapes" not in run("labels delete rbc").output
    assert "4155 shapes" in run("labels delete rbc --force").output
    run("labels delete rbc --yes")
    run("labels delete rbc --force --yes")
    assert [call.force for call in fake.calls["DeleteLabel"]] == [False, True]


def test_the_newest_version_of_a_model_is_not_deleted_by_leaving_the_number_out(fake: Fake, run: Run) -> None:
    assert run("models delete cells-v --yes").exit_code == 2
    assert run("models delete cells-v@1 --all --yes").exit_code == 2
    assert not {"DeleteModelVersion", "DeleteModel"} & fake.calls.keys()


@pytest.mark.parametrize("line", ["", "a1", "a1 --filter all --split val", "a1 --split dev", "--filter all"])
def test_what_to_set_on_which_images_is_said_once(fake: Fake, run: Run, line: str) -> None:
    assert run(f"assets set {line}").exit_code == 2
    assert "UpdateAsset" not in fake.calls


def test_predictions_are_listed_and_drawn(fake: Fake, run: Run, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(encoded())
    images = [str(tmp_path / "one/a.png"), str(tmp_path / "two/a.png")]
    out = tmp_path / "out"
    result = run("predict cells-v@1 --threshold 0.4 --classes RBC,WBC --save", str(out), *images)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["a-2.png", "a.png"]
    assert "10.0 20.0 30.0 40.0" in result.stdout
    assert f"{images[0]}: 1 shape in 93 ms" in result.stderr
    assert [list(call.classes) for call in fake.calls["Predict"]] == [["RBC", "WBC"]] * 2
    found = json.loads(run("predict cells-v@1 -o json", images[0]).stdout)
    assert found[0]["image"] == images[0]
    assert found[0]["shapes"][0]["box"] == {"x": 10.0, "y": 20.0, "width": 30.0, "height": 40.0}


def test_a_file_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    (tmp_path / "out").write_text("a file, no folder")
    result = run("predict cells-v@1", str(tmp_path / "a.png"), "--save", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "reason: FILE" in result.stderr


def test_a_model_without_a_variant_says_what_to_do(fake: Fake, run: Run, tmp_path: Path) -> None:
    violation = served.PreconditionViolation("NO_VARIANT", "versions/1", "make one with OptimizeModelVersion")
    fake.queue("Predict", served.FailedPrecondition("NO_VARIANT", "no variant serves", [violation]))
    (tmp_path / "a.png").write_bytes(encoded())
    result = run("predict cells-v@1", str(tmp_path / "a.png"))
    assert result.exit_code == 4
    assert "reason: NO_VARIANT" in result.stderr
    assert "hint: make one with OptimizeModelVersion" in result.stderr


def test_a_variant_that_fails_exits_with_1(fake: Fake, run: Run) -> None:
    failed = inference.ModelVariant(
        name=world.VARIANT.name, state=inference.ModelVariant.STATE_FAILED, reason="differs"
    )
    fake.answer("OptimizeModelVersion", failed)
    fake.answer("GetModelVariant", failed)
    assert run("optimize cells-v@1 --to onnx").exit_code == 1


def test_optimizing_shows_what_its_job_waits_for(fake: Fake, run: Run) -> None:
    pending = inference.ModelVariant(
        name=world.VARIANT.name, state=inference.ModelVariant.STATE_PENDING, job=world.JOB.name
    )
    waits = training.Reason(code="QUOTA_WAIT", message="the machine is busy with j0")
    events = [world.state(1, training.JOB_STATE_QUEUED, waits), world.state(2, training.JOB_STATE_SUCCEEDED)]
    queued = training.Job(name=world.JOB.name, state=training.JOB_STATE_QUEUED)
    fake.answer("OptimizeModelVersion", pending)
    fake.script("WatchJob", world.watched(queued, events))
    result = run("optimize cells-v@1")
    assert result.stderr.splitlines()[:2] == ["job j1", "QUEUED QUOTA_WAIT the machine is busy with j0"]
    assert "passed on 32 images" in result.stdout


def test_parity_and_latency_are_shown(run: Run) -> None:
    stdout = run("optimize cells-v@1").stdout
    assert "passed on 32 images" in stdout
    assert "p50 81.0 ms" in stdout


def test_a_comparison_without_labelled_images_has_no_metric(fake: Fake, run: Run) -> None:
    assert "metric" not in run("optimize cells-v@1").stdout
    measured = inference.ModelVariant()
    measured.CopyFrom(world.VARIANT)
    measured.parity.original_metric = measured.parity.variant_metric = 0.5
    fake.answer("GetModelVariant", measured)
    assert "0.5000 original, 0.5000 variant" in run("optimize cells-v@1").stdout


def test_markup_in_what_people_named_is_text(fake: Fake, run: Run) -> None:
    fake.answer(
        "ListProjects",
        annotation.ListProjectsResponse(projects=[annotation.Project(name="projects/a", display_name="[bold]x[/]")]),
    )
    assert "[bold]x[/]" in run("project list").stdout


def commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], object]]:
    """All commands that do something, with what is typed to reach them."""
    below = getattr(command, "commands", None)
    if below is None:
        return [(path, command)]
    return [found for name, one in below.items() for found in commands(one, (*path, name))]


def test_the_help_of_each_command_has_an_example_of_it() -> None:
    for path, command in commands(get_command(app)):
        assert f"Example: bloomery {' '.join(path)}" in str(getattr(command, "epilog", "")), path
        assert getattr(command, "help", ""), path


def test_help_tells_the_exit_codes_and_what_plugins_bring(run: Run) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--help"])
    assert "130 interrupted" in result.stdout
    lines = [line.strip("│ ").split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["up", metadata("bloomery-server")["Summary"]] in lines


def test_the_version_is_told_without_a_server(run: Run) -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"bloomery {metadata('bloomery')['Version']}\n")


def test_the_versions_of_client_and_server_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"client  {metadata('bloomery')['Version']}\n"
    assert run("version").stdout == f"{own}server  9.8.7\n"
    monkeypatch.delenv("BLOOMERY_ENDPOINT")
    alone = run("version")
    assert (alone.exit_code, alone.stdout) == (5, own)


def test_a_plugin_is_imported_when_it_is_run(run: Run) -> None:
    result = run("up --help")
    assert result.exit_code == 0
    assert "--data" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from bloomery.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('grpc', 'httpx', 'google.protobuf', 'PIL', 'bloomery_server')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_score_below_one_is_not_shown_as_one() -> None:
    assert text(0.99996) == "0.9999"
    assert text(1.0) == "1"


def test_a_label_in_use_is_refused_with_the_option_that_helps(fake: Fake, run: Run) -> None:
    fake.queue("DeleteLabel", served.FailedPrecondition("LABEL_IN_USE", "shapes carry it"))
    assert "--force" in run("labels delete rbc --yes").output


def test_an_interrupted_import_says_what_is_kept(fake: Fake, run: Run, tmp_path: Path) -> None:
    world.settle(fake)
    (tmp_path / "one.png").write_bytes(encoded())

    def interrupted(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        os.kill(os.getpid(), signal.SIGINT)
        return annotation.PrepareUploadsResponse()

    fake.answer("PrepareUploads", interrupted)
    result = run(f"import {tmp_path} --project cells")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    assert "CreateImport" not in fake.calls
