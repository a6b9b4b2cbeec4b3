"""Jobs on models that are there already, or come as files: what is asked for, and what is shown of what they made."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from bloomery import AsyncClient, Client, ConfusionCell, ReliabilityBin, WorstImage, errors
from bloomery.common.v1 import Artifact
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.blobs import Blobs, digest_of
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded

EVALUATED = training.Job(
    name="projects/cells/jobs/e1",
    kind=training.JOB_KIND_EVALUATE,
    state=training.JOB_STATE_SUCCEEDED,
    dataset_version=world.VERSION.name,
    model_version=world.MODEL_VERSION.name,
    result=training.JobResult(metrics={"test/map50": 0.9}),
)
ASSET = "projects/cells/assets/a"
PER_CLASS = [
    {"class": "RBC", "index": 0, "ap50": 0.95, "instances": 7},
    {"class": "WBC", "index": 1, "ap50": 0.85, "instances": 2},
]


@pytest.fixture(autouse=True)
def settled(fake: Fake) -> None:
    world.settle(fake)


def offer(fake: Fake, blobs: Blobs, role: str, name: str, content: bytes) -> None:
    """Let every job have made one file."""
    digest = blobs.keep(content)
    made = training.SignedArtifact(
        artifact=Artifact(role=role, file_name=name, digest=digest), get=blobs.signed(digest)
    )
    fake.answer("SignArtifacts", training.SignArtifactsResponse(artifacts=[made]))


@pytest.fixture
def evaluated(fake: Fake, blobs: Blobs) -> None:
    """An evaluation that has succeeded."""
    document = {"test": {"images": 6, "test/map50": 0.9, "per_class": PER_CLASS}}
    offer(fake, blobs, "evaluation", "evaluation.json", json.dumps(document).encode())
    fake.answer("CreateJob", EVALUATED)
    fake.answer("GetJob", EVALUATED)
    fake.script("WatchJob", world.watched(EVALUATED, [world.state(1, training.JOB_STATE_SUCCEEDED)]))


def test_an_evaluation_works_on_the_models_own_checkpoint_by_its_own_recipe(fake: Fake, client: Client) -> None:
    client.model_version("cells-v@1").evaluate("cells-v@1", split="val", name="e1", gpus=1)
    [request] = fake.calls["CreateJob"]
    job = request.job
    assert (request.parent, request.job_id, job.kind) == ("projects/cells", "e1", training.JOB_KIND_EVALUATE)
    assert (job.recipe, job.dataset_version) == ("recipes/yolo-detect", world.VERSION.name)
    assert (job.model_version, job.base_artifact) == (world.MODEL_VERSION.name, world.MODEL_VERSION.artifacts[0])
    assert (dict(job.parameters), job.resources.gpus) == ({"split": "val"}, 1)


def test_a_variant_is_measured_by_its_own_files(fake: Fake, client: Client, run: Run) -> None:
    name = f"{world.MODEL_VERSION.name}/variants/onnx-int8"
    ready = inference.ModelVariant(name=name, state=inference.ModelVariant.STATE_READY)
    ready.artifacts.append(Artifact(role="variant/1/model.onnx", file_name="1/model.onnx", digest="sha256:1"))
    fake.answer("GetModelVariant", ready)
    client.model_version("cells-v@1").evaluate("cells-v@1", variant="onnx-int8")
    assert run("evaluate cells-v@1 --on cells-v@1 --variant onnx-int8").exit_code == 0
    jobs = [request.job for request in fake.calls["CreateJob"]]
    assert [job.model_variant for job in jobs] == [name, name]
    assert all(list(job.variant_artifacts) == list(ready.artifacts) for job in jobs)
    assert not any(job.HasField("base_artifact") for job in jobs)
    assert fake.calls["GetModelVariant"][0].name == name


def test_a_variant_that_is_not_ready_cannot_be_measured(fake: Fake, client: Client) -> None:
    fake.answer("GetModelVariant", inference.ModelVariant(state=inference.ModelVariant.STATE_FAILED))
    with pytest.raises(errors.FailedPrecondition, match="not ready"):
        client.model_version("cells-v@1").evaluate("cells-v@1", variant="onnx-int8")
    assert "CreateJob" not in fake.calls


async def test_a_dataset_version_may_be_given_by_its_handle(fake: Fake, aclient: AsyncClient) -> None:
    model = await aclient.model_version("cells-v@1")
    job = await model.evaluate(await aclient.dataset_version("cells-v@1"))
    assert job.name == world.JOB.name
    [request] = fake.calls["CreateJob"]
    assert (request.job.dataset_version, dict(request.job.parameters)) == (world.VERSION.name, {"split": "test"})
    assert len(fake.calls["GetDatasetVersion"]) == 1


@pytest.mark.parametrize("line", ["evaluate cells-v@1 --on cells-v@9", "predict-batch cells-v@1 --on cells-v@9"])
def test_a_dataset_version_that_is_not_there_is_told_as_such(fake: Fake, run: Run, line: str) -> None:
    name = "projects/cells/datasets/cells-v/versions/9"
    fake.queue("GetDatasetVersion", served.NotFound("dataset version", name))
    result = run(line)
    assert result.exit_code == 3, result.output
    assert name in result.stderr
    assert fake.calls["GetDatasetVersion"][0].name == name
    assert "CreateJob" not in fake.calls


def test_a_version_without_a_checkpoint_cannot_be_applied(fake: Fake, client: Client) -> None:
    fake.answer("GetModelVersion", inference.ModelVersion(name=world.MODEL_VERSION.name))
    with pytest.raises(errors.FailedPrecondition, match="no file to work on"):
        client.model_version("cells-v@1").evaluate("cells-v@1")
    assert "CreateJob" not in fake.calls


def test_the_evaluations_of_a_job_are_read(client: Client, evaluated: None) -> None:
    [found] = client.job("e1").evaluations()
    assert (found.split, found.images, found.metrics) == ("test", 6, {"test/map50": 0.9})
    assert found.per_class == PER_CLASS


def test_a_versioned_document_tells_what_is_taken_for_what(fake: Fake, blobs: Blobs, client: Client) -> None:
    one = {
        "images": 6,
        "metrics": {"test/map50": 0.9, "test/f1": 0.8},
        "per_class": [{"class": "WBC", "index": 0, "ap50": 0.85, "ap_small": None, "instances": 2}],
        "confusion": {
            "confidence": 0.3,
            "cells": [{"truth": "WBC", "predicted": None, "count": 1, "images": [ASSET]}],
        },
        "reliability": [{"lower": 0.2, "upper": 0.3, "count": 4, "confidence": 0.25, "share": 0.5}],
        "curves": [],
        "worst_images": [
            {"asset": "projects/cells/assets/a", "file_name": "a.jpg", "missed": 1, "extra": 0, "confused": 0}
        ],
    }
    document = {"version": 1, "task": "detect", "classes": ["WBC"], "evaluations": {"test": one}}
    offer(fake, blobs, "evaluation", "evaluation.json", json.dumps(document).encode())
    fake.answer("GetJob", EVALUATED)
    [found] = client.job("e1").evaluations()
    assert (found.split, found.images, found.metrics) == ("test", 6, {"test/map50": 0.9, "test/f1": 0.8})
    assert found.confidence == 0.3
    assert found.confusion == [ConfusionCell("WBC", None, 1, [ASSET])]
    assert found.reliability == [ReliabilityBin(0.2, 0.3, 4, 0.25, 0.5)]
    assert found.worst_images == [WorstImage(ASSET, "a.jpg", 1, 0, 0)]


def test_the_page_about_an_evaluation_is_written_where_it_is_wanted(
    fake: Fake, blobs: Blobs, run: Run, tmp_path: Path
) -> None:
    offer(fake, blobs, "report", "report.html", b"<!DOCTYPE html>")
    fake.answer("GetJob", EVALUATED)
    result = run(f"jobs report e1 --save {tmp_path}/new/page.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "page.html").read_bytes() == b"<!DOCTYPE html>"
    assert fake.calls["SignArtifacts"][0].roles == ["report"]


def test_a_job_without_a_page_says_so(fake: Fake, client: Client, tmp_path: Path) -> None:
    fake.answer("GetJob", EVALUATED)
    fake.answer("SignArtifacts", training.SignArtifactsResponse())
    with pytest.raises(errors.NotFound, match="e1 has made no report: it is SUCCEEDED"):
        client.job("e1").report(tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("line", ["evaluate cells-v@1 --on cells-v@1 --follow", "jobs watch e1"])
def test_a_followed_evaluation_ends_with_a_table_of_the_classes(run: Run, evaluated: None, line: str) -> None:
    result = run(line)
    assert result.exit_code == 0, result.output
    assert "test/map50=0.9" in result.stdout
    lines = [text.split() for text in result.stdout.splitlines()]
    assert ["CLASS", "AP50", "INSTANCES"] in lines
    assert ["WBC", "0.85", "2"] in lines


def test_a_followed_evaluation_in_json_has_the_classes_too(run: Run, evaluated: None) -> None:
    found = json.loads(run("evaluate cells-v@1 --on cells-v@1 --follow -o json").stdout)
    assert (found["name"], found["evaluations"][0]["per_class"]) == (EVALUATED.name, PER_CLASS)
    assert found["result"]["metrics"] == {"test/map50": 0.9}


def test_a_prediction_on_a_dataset_version_leaves_defaults_to_the_recipe(fake: Fake, client: Client) -> None:
    model = client.model_version("cells-v@1")
    model.predict_dataset("cells-v@1")
    model.predict_dataset(client.dataset_version("cells-v@1"), split="all", threshold=0.0, iou_threshold=0.5)
    first, second = (request.job for request in fake.calls["CreateJob"])
    assert (first.kind, dict(first.parameters)) == (training.JOB_KIND_PREDICT, {"split": "test"})
    assert dict(second.parameters) == {"split": "all", "threshold": 0.0, "iou_threshold": 0.5}
    assert second.base_artifact == world.MODEL_VERSION.artifacts[0]


def test_an_option_that_there_is_not_starts_nothing(fake: Fake, client: Client, tmp_path: Path) -> None:
    model, wrong = client.model_version("cells-v@1"), {"treshold": 0.5}
    with pytest.raises(TypeError, match="treshold"):
        model.predict_dataset("cells-v@1", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="treshold"):
        model.predict_folder(tmp_path / "none", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="treshold"):
        next(model.predict_each([b"image"], **wrong))  # type: ignore[arg-type]
    assert not fake.calls["CreateJob"]


def test_a_prediction_may_be_on_images_of_the_project(fake: Fake, client: Client, run: Run) -> None:
    client.model_version("cells-v@1").predict_project("label:RBC", threshold=0.5, suggest=True)
    assert run("predict-batch cells-v@1 --assets all").exit_code == 0
    first, second = (request.job for request in fake.calls["CreateJob"])
    assert (first.project_images.filter, first.suggest, first.dataset_version) == ("label:rbc", True, "")
    assert dict(first.parameters) == {"threshold": 0.5}
    assert second.HasField("project_images")
    assert (second.project_images.filter, second.suggest) == ("", False)
    for line in ("", "--on cells-v@1 --assets all", "--assets all --split val"):
        assert run(f"predict-batch cells-v@1 {line}").exit_code == 2


def test_a_prediction_takes_a_variant_and_classes_and_how_many(fake: Fake, client: Client, run: Run) -> None:
    name = f"{world.MODEL_VERSION.name}/variants/onnx-int8"
    fake.answer("GetModelVariant", inference.ModelVariant(name=name, state=inference.ModelVariant.STATE_READY))
    model = client.model_version("cells-v@1")
    model.predict_project(variant="onnx-int8", classes=["rbc", "WBC"], max_shapes=5)
    assert run("predict-batch cells-v@1 --on cells-v@1 --variant onnx-int8 --classes RBC --max-shapes 5").exit_code == 0
    first, second = (request.job for request in fake.calls["CreateJob"])
    assert (first.model_variant, second.model_variant) == (name, name)
    assert dict(first.parameters) == {"classes": "RBC,WBC", "max_shapes": 5}
    assert dict(second.parameters) == {"classes": "RBC", "max_shapes": 5, "split": "test"}


READY = inference.ModelVariant.STATE_READY
FORMS = {"openvino-fp32": "cpu", "onnx-int8": "cpu", "onnx-fp32": "cpu", "tensorrt-fp16": "an engine's GPU"}


@pytest.fixture
def optimized(fake: Fake) -> inference.ModelVersion:
    """The version with variants, the fastest first."""
    version = inference.ModelVersion()
    version.CopyFrom(world.MODEL_VERSION)
    version.ClearField("variants")
    version.fastest_variants.extend(["tensorrt-fp16", "openvino-fp32", "onnx-int8", "onnx-fp32"])
    for name, device in FORMS.items():
        version.variants.add(name=f"{world.MODEL_VERSION.name}/variants/{name}", device=device, state=READY)
    fake.answer("GetModelVersion", version)
    return version


def recipe(*forms: str, name: str = world.RECIPE.name) -> training.Recipe:
    return training.Recipe(name=name, task=world.MODEL_VERSION.task, kinds=["EVALUATE", "PREDICT"], forms=forms)


def asked(fake: Fake) -> training.Job:
    """The job that was created last."""
    job: training.Job = fake.calls["CreateJob"][-1].job
    return job


def test_a_prediction_is_made_by_the_fastest_variant_that_the_worker_runs(
    fake: Fake, client: Client, optimized: inference.ModelVersion
) -> None:
    fake.answer("GetRecipe", recipe("onnx-fp32", "onnx-int8", "tensorrt-fp16"))
    model = client.model_version("cells-v@1")
    model.predict_dataset("cells-v@1")
    assert (asked(fake).model_variant, asked(fake).HasField("base_artifact")) == (optimized.variants[1].name, False)
    model.predict_project(gpus=1)
    assert asked(fake).model_variant == optimized.variants[3].name
    fake.answer("GetRecipe", recipe("onnx-fp32"))
    model.predict_project(gpus=1)
    assert (asked(fake).model_variant, asked(fake).base_artifact) == ("", world.MODEL_VERSION.artifacts[0])


def test_a_prediction_is_made_by_the_version_itself_where_that_is_asked_for_or_nothing_else_runs(
    fake: Fake, client: Client, run: Run, optimized: inference.ModelVersion
) -> None:
    model = client.model_version("cells-v@1")
    fake.answer("GetRecipe", recipe())
    model.predict_project()
    assert asked(fake).model_variant == ""
    fake.answer("GetRecipe", recipe(*FORMS))
    model.evaluate("cells-v@1")
    assert asked(fake).model_variant == ""
    model.evaluate("cells-v@1", variant="checkpoint")
    assert asked(fake).model_variant == ""
    assert run("predict-batch cells-v@1 --assets all --variant checkpoint").exit_code == 0
    assert (asked(fake).model_variant, asked(fake).base_artifact) == ("", world.MODEL_VERSION.artifacts[0])


def test_a_variant_needs_no_more_than_a_recipe_of_its_task(
    fake: Fake, client: Client, optimized: inference.ModelVersion
) -> None:
    fake.queue("GetRecipe", served.NotFound("recipe", world.RECIPE.name))
    others = [recipe(), training.Recipe(name="recipes/x", kinds=["PREDICT"], forms=["onnx-int8"])]
    fake.answer("ListRecipes", training.ListRecipesResponse(recipes=[*others, recipe("onnx-int8", name="recipes/y")]))
    model = client.model_version("cells-v@1")
    model.predict_dataset("cells-v@1")
    assert (asked(fake).recipe, asked(fake).model_variant) == ("recipes/y", optimized.variants[1].name)
    model.predict_dataset("cells-v@1", variant="checkpoint")
    assert asked(fake).recipe == world.RECIPE.name


@pytest.mark.parametrize(
    ("variant", "said"), [("", "checkpoint"), (f"{world.MODEL_VERSION.name}/variants/onnx-int8", "onnx-int8")]
)
def test_a_job_says_which_form_of_the_model_it_predicts_with(fake: Fake, run: Run, variant: str, said: str) -> None:
    kind = training.JOB_KIND_PREDICT
    fake.answer(
        "GetJob",
        training.Job(name=world.JOB.name, kind=kind, model_version=world.MODEL_VERSION.name, model_variant=variant),
    )
    assert ["variant", said] in [line.split() for line in run("jobs show train-1").stdout.splitlines()]


SEEN = (
    b'{"file_name":"a.png","original_name":"","digest":"sha256:1","split":"","width":8,"height":6,"shapes":'
    b'[{"label":"RBC","score":0.5,"box":{"x":1,"y":2,"width":3,"height":4}},'
    b'{"label":"WBC","score":0.25,"mask":{"width":8,"height":6,"counts":"44"},"bounds":{}}]}\n'
    b'{"file_name":"b.png","original_name":"","digest":"sha256:2","split":"val","error":'
    b'{"reason":"NOT_AN_IMAGE","message":"no"}}\n'
)


def test_what_a_job_predicted_is_read_image_by_image(fake: Fake, blobs: Blobs, client: Client) -> None:
    offer(fake, blobs, "predictions", "predictions.jsonl", SEEN)
    first, second = client.job("p1").predictions()
    assert first.prediction is not None
    assert (first.file_name, first.prediction.size, first.error) == ("a.png", (8, 6), None)
    box, mask = first.prediction.shapes
    assert (box.label, box.confidence, box.box.width, mask.mask.counts) == ("RBC", 0.5, 3, b"44")
    assert (second.digest, second.split, second.prediction) == ("sha256:2", "val", None)
    assert second.error == {"reason": "NOT_AN_IMAGE", "message": "no"}


def test_predictions_are_written_in_the_formats_of_predict(fake: Fake, blobs: Blobs, run: Run, tmp_path: Path) -> None:
    offer(fake, blobs, "predictions", "predictions.jsonl", SEEN)
    job = training.Job(name=world.JOB.name, state=training.JOB_STATE_SUCCEEDED)
    job.result.details.update({"task": "detect", "classes": ["RBC", "WBC"]})
    fake.answer("GetJob", job)
    line = f"predict-batch cells-v@1 --on cells-v@1 --to {tmp_path} --format"
    result = run(f"{line} coco --format jsonl")
    assert result.stdout.split() == [f"{tmp_path}/predictions.jsonl", f"{tmp_path}/coco.json"], result.output
    found = json.loads((tmp_path / "coco.json").read_text())
    assert [one["file_name"] for one in found["images"]] == ["a.png"]
    assert [one["score"] for one in found["annotations"]] == [0.5, 0.25]
    assert run("predict-batch cells-v@1 --on cells-v@1 --format coco").exit_code == 2


def test_a_finished_prediction_says_what_became_of_its_images(fake: Fake, run: Run) -> None:
    job = training.Job(name=world.JOB.name, kind=training.JOB_KIND_PREDICT, state=training.JOB_STATE_SUCCEEDED)
    job.project_images.read_sequence = 7
    job.result.details.update({"predicted": 5, "failed": {"NOT_AN_IMAGE": 2}})
    fake.answer("GetJob", job)
    lines = [line.split(maxsplit=1) for line in run("jobs show train-1").stdout.splitlines()]
    assert ["assets", "all, at sequence 7"] in lines
    assert ["images", "5 predicted, 2 NOT_AN_IMAGE"] in lines


def test_several_classes_a_place_are_asked_for_only_where_they_are_wanted(
    fake: Fake, client: Client, run: Run, tmp_path: Path
) -> None:
    model = client.model_version("cells-v@1")
    model.evaluate("cells-v@1", multi_label=True)
    run("evaluate cells-v@1 --on cells-v@1 --multi-label")
    run("predict-batch cells-v@1 --on cells-v@1 --multi-label")
    run("predict-batch cells-v@1 --on cells-v@1")
    asked = [request.job.parameters.fields.get("multi_label") for request in fake.calls["CreateJob"]]
    assert [one and one.bool_value for one in asked] == [True, True, True, None]
    (tmp_path / "a.png").write_bytes(encoded())
    run("predict cells-v@1 --multi-label", str(tmp_path / "a.png"))
    model.predict(b"image")
    assert [request.multi_label for request in fake.calls["Predict"]] == [True, False]


def test_predictions_are_written_to_a_folder(fake: Fake, blobs: Blobs, run: Run, tmp_path: Path) -> None:
    offer(fake, blobs, "predictions", "predictions.jsonl", b"{}\n")
    result = run("predict-batch cells-v@1 --on cells-v@1 --threshold 0.5 --to", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/predictions.jsonl").read_bytes() == b"{}\n"
    assert result.stdout == f"{tmp_path}/out/predictions.jsonl\n"
    assert list(fake.calls["SignArtifacts"][0].roles) == ["predictions"]
    assert dict(fake.calls["CreateJob"][0].job.parameters) == {"split": "test", "threshold": 0.5}


@pytest.fixture
def inputs(fake: Fake, blobs: Blobs) -> Blobs:
    """A place that takes files for jobs."""

    def prepared(request: training.PrepareInputUploadRequest) -> training.PrepareInputUploadResponse:
        put = None if request.artifact.digest in blobs.held else blobs.signed(request.artifact.digest)
        return training.PrepareInputUploadResponse(put=put)

    def completed(request: training.CompleteInputUploadRequest) -> Artifact:
        kept = Artifact(logical_key="p/inputs/1", role="input")
        kept.MergeFrom(request.artifact)
        return kept

    fake.answer("PrepareInputUpload", prepared)
    fake.answer("CompleteInputUpload", completed)
    return blobs


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    return path


def test_a_model_file_is_uploaded_once_and_imported(fake: Fake, client: Client, inputs: Blobs, weights: Path) -> None:
    for _ in range(2):
        client.project("cells").import_model(weights, model="mine", recipe="yolo-detect", imgsz=320)
    assert inputs.held == {digest_of(b"weights"): b"weights"}
    assert [method for method, _ in inputs.log] == ["PUT"]
    job = fake.calls["CreateJob"][1].job
    assert (job.kind, job.recipe, job.base) == (training.JOB_KIND_IMPORT, "recipes/yolo-detect", "mine.pt")
    assert (job.model, dict(job.parameters)) == ("projects/cells/models/mine", {"imgsz": 320})
    expected = Artifact(
        digest=digest_of(b"weights"), size_bytes=7, file_name="mine.pt", logical_key="p/inputs/1", role="input"
    )
    assert (job.base_artifact, job.dataset_version) == (expected, "")


def test_an_adapter_travels_with_the_base_that_is_given_and_without_one_alone(
    fake: Fake, client: Client, run: Run, inputs: Blobs, weights: Path
) -> None:
    name = "projects/cells/models/cells-v/versions/1"
    digest = inputs.keep(b"adapter")
    kept = Artifact(role="adapter", file_name="adapter.safetensors", digest=digest, size_bytes=7)
    version = inference.ModelVersion(
        name=name, artifacts=[kept], lineage=inference.Lineage(recipe="recipes/yolo-detect 1")
    )
    fake.answer("GetModelVersion", version)
    signed = inference.SignedModelArtifact(artifact=kept, get=inputs.signed(digest))
    fake.answer("SignModelArtifacts", inference.SignModelArtifactsResponse(artifacts=[signed]))
    client.model_version(name).merge(weights)
    shown = run("models merge cells-v@1 --project cells --model other")
    assert shown.exit_code == 0, shown.output
    packed, alone = (call.job for call in fake.calls["CreateJob"])
    with zipfile.ZipFile(io.BytesIO(inputs.held[packed.base_artifact.digest])) as archive:
        assert {one: archive.read(one) for one in archive.namelist()} == {
            "adapter.safetensors": b"adapter",
            "base.pt": b"weights",
        }
    assert (packed.kind, packed.recipe) == (training.JOB_KIND_IMPORT, "recipes/yolo-detect")
    assert (packed.model, alone.model) == ("projects/cells/models/cells-v", "projects/cells/models/other")
    assert (alone.base, alone.base_artifact.digest) == ("adapter.safetensors", digest)


def test_what_has_no_adapter_cannot_be_merged(fake: Fake, client: Client) -> None:
    fake.answer("GetModelVersion", inference.ModelVersion(name="projects/cells/models/cells-v/versions/1"))
    with pytest.raises(errors.FailedPrecondition, match="no adapter"):
        client.model_version("projects/cells/models/cells-v/versions/1").merge()
    assert "CreateJob" not in fake.calls


def test_an_upload_that_got_lost_is_sent_again(fake: Fake, client: Client, inputs: Blobs, weights: Path) -> None:
    fake.queue("CompleteInputUpload", served.FailedPrecondition("INPUT_MISSING", "nothing was uploaded"))
    client.project("cells").import_model(weights, model="mine", recipe="yolo-detect")
    assert len(fake.calls["PrepareInputUpload"]) == 2
    fake.queue("PrepareInputUpload", served.ResourceExhausted("DISK_LOW", "free space"))
    with pytest.raises(errors.ResourceExhausted):
        client.project("cells").import_model(weights, model="mine", recipe="yolo-detect")


def test_a_file_that_is_not_there_is_told_before_anything_is_asked(fake: Fake, client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="not a file"):
        client.project("cells").import_model(tmp_path / "none.pt", model="mine", recipe="yolo-detect")
    assert "PrepareInputUpload" not in fake.calls


def test_a_followed_import_ends_with_the_model_version(fake: Fake, run: Run, inputs: Blobs, weights: Path) -> None:
    line = "--model mine --recipe yolo-detect --project cells"
    result = run(f"models import {line}", str(weights))
    assert "projects/cells/jobs/j1" in result.stdout, result.output
    result = run(f"models import {line} --follow", str(weights))
    assert world.MODEL_VERSION.name in result.stdout, result.output
    assert run("models import --model mine", str(weights)).exit_code == 2


def test_names_of_classes_are_given_or_read_from_a_file(
    fake: Fake, run: Run, inputs: Blobs, weights: Path, tmp_path: Path
) -> None:
    names = [f"class number {number}" for number in range(80)]
    (tmp_path / "names.txt").write_text("\n".join(names))
    line = "models import --model mine --recipe onnx-detect --project cells"
    for given in (",".join(names), str(tmp_path / "names.txt")):
        assert run(line, str(weights), "--classes", given).exit_code == 0
        assert fake.calls["CreateJob"][-1].job.parameters["classes"] == "\n".join(names)
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe")
    refused = run(line, str(weights), "--classes", str(tmp_path / "names.txt"))
    assert (refused.exit_code, "no UTF-8 text" in refused.output) == (2, True)


def test_a_folder_with_an_onnx_file_travels_as_one_and_is_read_for_its_task(
    fake: Fake, client: Client, inputs: Blobs, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"model")
    (folder / "config.pbtxt").write_text("")
    for _ in range(2):
        client.project("cells").import_model(
            folder, model="mine", task="segment", classes=["a", "b"], size=(640, 480), scale="1/255"
        )
    [content] = inputs.held.values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["1/model.onnx", "config.pbtxt"]
    job = fake.calls["CreateJob"][0].job
    assert (job.recipe, job.base, job.base_artifact.file_name) == ("recipes/onnx-segment", "mine", "mine.zip")
    assert dict(job.parameters) == {"classes": "a\nb", "input": "640x480", "scale": "1/255"}


def test_what_an_import_needs_is_asked_for_before_anything_is_sent(
    fake: Fake, client: Client, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InvalidArgument, match="is no model"):
        client.project("cells").import_model(tmp_path / "empty", model="mine", task="detect")
    with pytest.raises(errors.InvalidArgument, match="not both"):
        client.project("cells").import_model(tmp_path / "a.onnx", model="mine", task="detect", recipe="onnx-detect")
    assert run("models import a.onnx --model mine --task detect --input 640 --project cells").exit_code == 2
    assert "CreateJob" not in fake.calls


def test_jobs_work_on_the_onnx_file_of_a_version_without_a_checkpoint_and_trainings_do_not(
    fake: Fake, client: Client
) -> None:
    model = Artifact(role="variant/1/model.onnx", digest="sha256:onnx", file_name="1/model.onnx")
    own = inference.ModelVariant(name=f"{world.MODEL_VERSION.name}/variants/onnx-fp32", job="projects/cells/jobs/i")
    own.artifacts.append(model)
    other = inference.ModelVariant(name=f"{world.MODEL_VERSION.name}/variants/onnx-int8", job="projects/cells/jobs/o")
    other.artifacts.append(Artifact(role="variant/1/model.onnx", digest="sha256:other"))
    version = inference.ModelVersion(name=world.MODEL_VERSION.name, variants=[other, own])
    version.lineage.job, version.lineage.recipe = own.job, "recipes/onnx-detect 1"
    fake.answer("GetModelVersion", version)
    client.project("cells")
    client.model_version(version.name).evaluate(world.VERSION.name)
    assert fake.calls["CreateJob"][0].job.base_artifact.digest == "sha256:onnx"
    with pytest.raises(errors.FailedPrecondition, match="no checkpoint to train from"):
        client.dataset_version(world.VERSION.name).train("yolo-detect", base=version.name)
