"""Models measured, applied and imported through the real services, by the client and the command line."""

import json
from pathlib import Path

import pytest

from bloomery import Client, ModelVersion
from bloomery.vision.v1 import Provenance
from tests.flow.conftest import Server

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
DATASET = "projects/trained/datasets/cells-v/versions/1"


def test_a_model_is_measured_as_its_training_measured_it(server: Server, trained: ModelVersion) -> None:
    done = server.bloomery("evaluate", trained.name, "--on", DATASET, "--name", "measure", "--follow", "-o", "json")
    job = json.loads(done.stdout)
    expected = {name: value for name, value in trained.metrics.items() if name.startswith("test/")}
    assert job["result"]["metrics"] == expected
    [evaluation] = job["evaluations"]
    assert (evaluation["split"], evaluation["images"]) == ("test", 10)
    assert {one["class"] for one in evaluation["per_class"]} == {"Platelets", "RBC", "WBC"}
    details = job["result"]["details"]
    assert details["model"]["version"] == trained.name
    assert details["dataset"] == {"version": DATASET, "content_hash": trained.lineage.dataset_hash}
    shown = server.bloomery("jobs", "watch", "projects/trained/jobs/measure").stdout
    assert "CLASS" in shown
    assert "Platelets" in shown


def test_predictions_on_a_dataset_version_are_those_of_the_server(
    server: Server, trained: ModelVersion, examples_dir: Path, tmp_path: Path
) -> None:
    options = ("--split", "all", "--confidence", "0.0", "--to", tmp_path)
    done = server.bloomery("predict-batch", trained.name, "--on", DATASET, *options)
    assert done.stdout.strip() == str(tmp_path / "predictions.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 60
    line = lines[0]
    image = next((examples_dir / "blood-cells").rglob(line["file_name"]))
    one = trained.predict(image, threshold=0.0).shapes[0]
    best = line["shapes"][0]
    assert best["score"] == pytest.approx(one.confidence, abs=1e-3)
    assert (line["width"], line["height"]) == (640, 480)


def test_predictions_become_annotations_of_images_that_nobody_annotated(
    server: Server, client: Client, trained: ModelVersion, pictures: Path
) -> None:
    (pictures / "data.yaml").write_text("names: [RBC, WBC]\n")
    project = client.project("trained")
    project.import_folder(pictures)
    options = ("--assets", "name:png", "--to-annotations", "--threshold", "0.0", "-o", "json")
    done = server.bloomery("predict", trained.name, *options)
    told = [line.rpartition(", ")[2] for line in done.stderr.splitlines()]
    assert sorted(told) == ["left alone: people annotated it"] * 2 + ["saved"]
    seen = {one["asset"]: one["shapes"] for one in json.loads(done.stdout)}
    [bare] = project.assets(filter="name:2.png")
    saved = bare.annotation_set()
    assert (saved.provenance.source, saved.provenance.agent) == (Provenance.SOURCE_MODEL, trained.name)
    assert [shape.label.upper() for shape in saved.shapes] == [one["label"].upper() for one in seen[bare.name]]
    assert saved.shapes[0].confidence > 0


def test_a_model_file_becomes_a_version_that_does_all_that_others_do(
    server: Server, client: Client, trained: ModelVersion, examples_dir: Path, tmp_path: Path
) -> None:
    [weights] = [path for path in trained.download(tmp_path) if path.name == "best.pt"]
    arguments = ("--model", "mine", "--recipe", "yolo-detect", "--project", "trained", "--follow")
    imported = server.bloomery("models", "import", weights, *arguments)
    assert "projects/trained/models/mine/versions/1" in imported.stdout
    model = client.model_version("projects/trained/models/mine/versions/1")
    assert list(model.classes) == list(trained.classes)
    assert (model.lineage.dataset_version, model.lineage.base) == ("", "best.pt")
    assert (model.proto.input.height, model.proto.input.resize) == (64, "letterbox")
    optimized = server.bloomery("optimize", model.name, "--to", "onnx")
    assert "on generated images" in optimized.stdout
    image = min((examples_dir / "blood-cells" / "JPEGImages").iterdir())
    seen, known = (each.refresh().predict(image, threshold=0.0).shapes[0] for each in (model, trained))
    assert seen.label == known.label
    assert seen.confidence == pytest.approx(known.confidence, abs=1e-3)
    measured = model.evaluate(DATASET, split="val").wait()
    expected = {name: value for name, value in trained.metrics.items() if name.startswith("val/")}
    assert dict(measured.metrics) == expected
    model.delete()
    assert [version.name for version in client.model("projects/trained/models/mine").versions()] == []
    passing = client.create_project("passing")
    passing.import_model(weights, model="mine", recipe="yolo-detect").wait().model_version()
    server.bloomery("project", "delete", "passing", "--cascade", "--yes")
    assert "passing" not in {one.id for one in client.projects()}
    assert list(client.models(project="passing")) == []
