"""What the command line says of models: predictions, variants, their proofs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import ParseDict

from bloomery.cli._output import text
from bloomery.common.v1 import Artifact
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded


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


def test_a_form_is_asked_for_with_its_parameters_and_images(fake: Fake, run: Run) -> None:
    run("optimize cells-v@1 --to onnx-int8 --on cells-v@1 --set calibration_images=50 --set seed=2")
    [asked] = fake.calls["OptimizeModelVersion"]
    assert (asked.format, asked.precision, asked.dataset_version) == ("onnx", "int8", world.VERSION.name)
    assert dict(asked.parameters) == {"calibration_images": 50, "seed": 2}


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


def test_a_score_below_one_is_not_shown_as_one() -> None:
    assert text(0.99996) == "0.9999"
    assert text(1.0) == "1"


def test_a_version_gets_a_note_and_is_taken_from_what_is_offered(fake: Fake, run: Run) -> None:
    read = inference.ModelVersion()
    read.CopyFrom(world.MODEL_VERSION)
    read.etag = "seen"
    fake.answer("GetModelVersion", read)
    fake.answer("UpdateModelVersion", lambda request: request.model_version)
    result = run("models update cells-v@1 --inactive --note", "misses [platelets]")
    assert result.exit_code == 0, result.output
    assert "misses [platelets]" in result.stdout
    assert "inactive" in result.stdout
    [asked] = fake.calls["UpdateModelVersion"]
    assert (asked.model_version.note, asked.model_version.etag) == ("misses [platelets]", "seen")
    assert asked.model_version.state == inference.ModelVersion.STATE_INACTIVE
    assert list(asked.update_mask.paths) == ["note", "state"]
    assert not any(call.show_inactive for call in fake.calls["ListModelVersions"])
    run("models versions cells-v --all")
    assert fake.calls["ListModelVersions"][-1].show_inactive


def test_a_card_is_markdown_for_people_and_a_message_for_tools(fake: Fake, run: Run) -> None:
    version = inference.ModelVersion()
    version.CopyFrom(world.MODEL_VERSION)
    version.note = "Misses | platelets."
    version.aliases.append("champion")
    version.lineage.parameters.update({"epochs": 5, "optimizer": "a|b"})
    measured = inference.ModelEvaluation(
        job="projects/cells/jobs/e1", dataset_version=world.VERSION.name, metrics={"val/map50": 0.25}
    )
    fake.answer(
        "GetModelCard",
        inference.ModelCard(
            model_version=version, display_name="Cells", evaluations=[measured], dataset_version=world.VERSION
        ),
    )
    text = run("models card cells-v@1").stdout
    assert text.startswith("# cells-v@1\n\nMisses | platelets.\n\n| ")
    for line in (
        "| aliases | champion |",
        "| train | 255 | 0 | RBC 2900, WBC 260 |",
        "| epochs | 5 |",
        "| optimizer | a\\|b |",
        "| test/map50 | 0.91 |",
        "| val/map50 | 0.25 |",
    ):
        assert line in text.splitlines()
    assert "By e1 on cells-v@1" in text
    assert "passed on 32 images" in text
    assert json.loads(run("models card cells-v@1 -o json").stdout)["modelVersion"]["aliases"] == ["champion"]


def test_a_card_leaves_out_what_it_has_nothing_about(fake: Fake, run: Run) -> None:
    bare = inference.ModelVersion(name=world.MODEL_VERSION.name, version=1)
    fake.answer("GetModelCard", inference.ModelCard(model_version=bare))
    text = run("models card cells-v@1").stdout
    assert "##" not in text


def test_what_goes_with_a_version_is_shown_before_it_is_deleted(fake: Fake, run: Run) -> None:
    fake.answer("DeleteModelVersion", Empty())
    shown = run("models delete cells-v@1")
    assert shown.exit_code != 0
    for part in ("cells-v@1/onnx-fp32", "5, 2 KiB", "with all of this?"):
        assert part in shown.stdout
    assert fake.calls["PreviewModelDeletion"][0].name == world.MODEL_VERSION.name
    assert not fake.calls["DeleteModelVersion"]
    assert run("models delete cells-v@1 --yes").exit_code == 0
    assert len(fake.calls["DeleteModelVersion"]) == len(fake.calls["PreviewModelDeletion"]) == 1


@pytest.mark.parametrize(
    ("holders", "line", "told"),
    [
        ({"model_aliases": [f"{world.MODEL.name}/aliases/champion"]}, "cells-v@1", "models alias remove"),
        ({"deployments": ["projects/cells/deployments/door"]}, "cells-v --all", "deploy delete"),
    ],
)
def test_what_the_server_would_refuse_to_delete_is_not_asked_for(
    fake: Fake, run: Run, holders: dict[str, list[str]], line: str, told: str
) -> None:
    going = inference.ModelDeletion(model_versions=[world.MODEL_VERSION.name])
    ParseDict(holders, going)
    fake.answer("PreviewModelDeletion", going)
    shown = run(f"models delete {line}")
    assert (shown.exit_code, "[y/N]" in shown.output) == (4, False)
    assert told in shown.stderr


def test_an_update_of_nothing_is_a_mistake(fake: Fake, run: Run) -> None:
    result = run("models update cells-v@1")
    assert (result.exit_code, "give what to change" in result.stderr) == (2, True)
    assert "UpdateModelVersion" not in fake.calls


FORMS = [
    inference.ModelForm(id="onnx-fp32"),
    inference.ModelForm(id="onnx-int8"),
    inference.ModelForm(id="tensorrt-fp16", needs="a GPU"),
]


def variant(id: str, **fields: Any) -> inference.ModelVariant:
    name = f"{world.MODEL_VERSION.name}/variants/{id}"
    return inference.ModelVariant(name=name, **{"state": inference.ModelVariant.STATE_READY, **fields})


def test_variants_stand_side_by_side(fake: Fake, run: Run) -> None:
    measured = variant(
        "onnx-int8",
        artifacts=[Artifact(size_bytes=3 << 20), Artifact(size_bytes=1 << 20)],
        parity=inference.Parity(image_count=18, original_metric=0.81, variant_metric=0.805, passed=True),
        latency=inference.Latency(
            p50_ms=12.34, p95_ms=13, threads=2, device="a CPU", images_per_second=99.5, peak_memory_bytes=64 << 20
        ),
    )
    failed = variant("onnx-int8-dynamic", state=inference.ModelVariant.STATE_FAILED, reason="EXPORT_FAILED: map50 0.1")
    fake.answer("ListModelVariants", inference.ListModelVariantsResponse(model_variants=[measured, failed]))
    head, one, other, reason = run("models variants cells-v@1").stdout.splitlines()
    columns = [
        "VARIANT",
        "STATE",
        "SIZE",
        "P50 MS",
        "P95 MS",
        "IMAGES/S",
        "MEMORY",
        "MAP50",
        "ORIGINAL",
        "PARITY",
        "ON",
    ]
    assert re.split(r"  +", head) == columns
    assert re.split(r"  +", one) == [
        "onnx-int8", "READY", "4 MiB", "12.34", "13", "99.5", "64 MiB", "0.8050", "0.8100", "passed on 18 images",
        "2 threads, a CPU",
    ]  # fmt: skip
    assert re.split(r"  +", other) == ["onnx-int8-dynamic", "FAILED"]
    assert reason == "onnx-int8-dynamic: EXPORT_FAILED: map50 0.1"


def test_the_forms_are_listed_with_what_they_need(fake: Fake, run: Run) -> None:
    fake.answer("GetModelForms", inference.GetModelFormsResponse(model_forms=FORMS))
    lines = run("models forms").stdout.splitlines()
    assert lines[0].split() == ["FORM", "RUNTIME", "LIMITS", "NEEDS"]
    assert [line.split()[0] for line in lines[1:]] == [form.id for form in FORMS]
    assert lines[-1].endswith("a GPU")


def test_all_forms_are_made_one_after_the_other_and_what_cannot_be_made_is_said(fake: Fake, run: Run) -> None:
    fake.answer("GetModelForms", inference.GetModelFormsResponse(model_forms=FORMS))
    failed = variant("onnx-int8", state=inference.ModelVariant.STATE_FAILED, reason="map50 is 0.1 instead of 0.8")
    made = {"": world.VARIANT, "fp32": world.VARIANT, "int8": failed}
    fake.answer("OptimizeModelVersion", lambda request: made[request.precision])
    fake.answer("GetModelVariant", lambda request: failed if request.name == failed.name else world.VARIANT)
    listed = inference.ListModelVariantsResponse(model_variants=[world.VARIANT, failed])
    fake.answer("ListModelVariants", listed)
    result = run("optimize cells-v@1 --to all")
    assert result.exit_code == 0, result.output
    assert [call.precision for call in fake.calls["OptimizeModelVersion"]] == ["fp32", "int8"]
    assert "onnx-int8: map50 is 0.1 instead of 0.8" in result.stderr
    assert result.stderr.splitlines()[:3] == [
        "tensorrt-fp16 is left out: it needs a GPU",
        "onnx-fp32, 1 of 2",
        "onnx-int8, 2 of 2",
    ]
    assert "passed on 32 images" in result.stdout
    fake.answer("ListModelVariants", inference.ListModelVariantsResponse(model_variants=[failed]))
    assert run("optimize cells-v@1 --to all").exit_code == 1


def test_the_variant_that_answers_can_be_named(fake: Fake, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    run("predict cells-v@1 --variant onnx-int8", str(tmp_path / "a.png"))
    assert [call.variant for call in fake.calls["Predict"]] == ["onnx-int8"]
