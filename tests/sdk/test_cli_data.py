"""What the command line says of images, labels and dataset versions."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Problem
from bloomery.dataset import v1 as dataset
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded


def test_a_class_map_reaches_the_build(fake: Fake, run: Run) -> None:
    white = annotation.Label(name="projects/cells/labels/wbc", display_name="WBC")
    fake.answer("ListLabels", annotation.ListLabelsResponse(labels=[world.LABEL, white]))
    run("dataset build d --split official --kind classify --class-map rbc=cell --class-map WBC=")
    spec = fake.calls["CreateDatasetVersion"][0].dataset_version.spec
    assert dict(spec.class_mapping) == {"rbc": "cell", "wbc": ""}
    assert (spec.include_empty, spec.split.method) == (False, spec.split.METHOD_OFFICIAL)


def test_what_a_version_takes_beside_labelled_images_reaches_the_build(fake: Fake, run: Run) -> None:
    run("dataset build d --split official --unassigned drop --no-include-empty --include-unannotated")
    run("dataset build d --include-empty")
    first, second = (call.dataset_version.spec for call in fake.calls["CreateDatasetVersion"])
    assert (first.split.unassigned, first.include_empty, first.include_unannotated) == ("drop", False, True)
    assert (second.split.unassigned, second.include_empty, second.include_unannotated) == ("", True, False)


def test_where_images_without_a_split_go_reaches_the_build_of_crops(fake: Fake, run: Run) -> None:
    assert run("dataset crops d --split official --unassigned drop").exit_code == 0
    assert run("dataset crops d --from cells-v@1").exit_code == 0
    first, second = (call.dataset_version.spec for call in fake.calls["CreateDatasetVersion"])
    assert (first.split.method, first.split.unassigned) == (first.split.METHOD_OFFICIAL, "drop")
    assert not second.HasField("split")


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


def test_what_a_save_cut_off_is_told_with_its_code(fake: Fake, run: Run, tmp_path: Path) -> None:
    cut = Problem(
        severity=Problem.SEVERITY_WARNING,
        code="PARTLY_OUTSIDE",
        path="shapes[0]",
        message="it spans x 5 to 724",
        hint="what sticks out is cut off",
    )
    fake.answer("UpdateAnnotationSet", annotation.AnnotationSet(name=world.SET.name, problems=[cut]))
    (tmp_path / "shapes.json").write_text("[]")
    result = run("annotations set a1 --file", str(tmp_path / "shapes.json"))
    assert result.stderr == "warning PARTLY_OUTSIDE: shapes[0]: it spans x 5 to 724; what sticks out is cut off\n"


@pytest.mark.parametrize("line", ["", "a1", "a1 --filter all --split val", "a1 --split dev", "--filter all"])
def test_what_to_set_on_which_images_is_said_once(fake: Fake, run: Run, line: str) -> None:
    assert run(f"assets set {line}").exit_code == 2
    assert "UpdateAsset" not in fake.calls


def test_an_interrupted_import_says_what_is_kept(fake: Fake, run: Run, tmp_path: Path) -> None:
    world.settle(fake)
    (tmp_path / "one.png").write_bytes(encoded())

    def interrupted(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        os.kill(os.getpid(), signal.SIGINT)
        # Nobody waits for the answer any more when it comes.
        left.wait(20)
        return annotation.PrepareUploadsResponse()

    left = threading.Event()
    fake.answer("PrepareUploads", interrupted)
    result = run(f"import {tmp_path} --project cells")
    left.set()
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    assert "CreateImport" not in fake.calls


def test_plans_are_told_from_imports(fake: Fake, run: Run) -> None:
    plan = annotation.Import(name="projects/cells/imports/p1", plan_only=True, state=annotation.Import.STATE_SUCCEEDED)
    fake.answer("ListImports", annotation.ListImportsResponse(imports=[plan, world.IMPORT]))
    _, first, second = run("imports list").stdout.splitlines()
    assert first.split()[:3] == ["p1", "plan", "SUCCEEDED"]
    assert "0/0" not in first
    assert second.split()[:3] == ["i1", "import", "SUCCEEDED"]
