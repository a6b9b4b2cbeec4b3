"""The main job through the real services, by the client and the command line: from labelled images to predictions.

And all that one does with a model then: measure it, apply it, take its file elsewhere.
"""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from typer.testing import Result

from bloomery import Client, ModelVersion, video
from bloomery.vision.v1 import Provenance
from tests.faults.processes import workers
from tests.flow.conftest import Run, Server

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
DATASET = "projects/trained/datasets/cells-v/versions/1"


def command(run: Run, *arguments: str | Path) -> Result:
    """What a command says that goes well."""
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done


def test_a_model_version_can_be_traced_to_its_exact_data(client: Client, trained: ModelVersion) -> None:
    model = client.model_version("projects/trained/models/cells-v/versions/1")
    lineage = model.proto.lineage
    version = client.dataset_version("projects/trained/datasets/cells-v/versions/1")
    assert lineage.dataset_version == version.name
    assert lineage.dataset_hash == version.proto.content_hash
    assert lineage.base == "scratch"
    assert lineage.license == "AGPL-3.0-only"
    assert lineage.parameters["imgsz"] == 64
    assert {"torch", "ultralytics"} <= set(lineage.versions)
    assert {"val/map50", "test/map50"} <= set(model.proto.metrics)
    assert list(model.proto.classes) == list(version.proto.classes)


def test_an_export_is_proven_on_real_images_before_it_serves(trained: ModelVersion) -> None:
    (variant,) = trained.variants()
    assert variant.state == "READY"
    parity = variant.proto.parity
    assert parity.passed
    assert parity.image_count >= 10
    assert 0 <= parity.max_geometry_error < 0.5
    assert variant.proto.latency.p50_ms > 0


def test_a_prediction_is_in_pixels_of_the_original_image(trained: ModelVersion, examples_dir: Path) -> None:
    image = min((examples_dir / "blood-cells" / "JPEGImages").iterdir())
    prediction = trained.predict(image, threshold=0.0, max_shapes=5)
    assert prediction.size == (640, 480)
    assert 0 < len(prediction.shapes) <= 5
    for shape in prediction.shapes:
        assert 0 <= shape.box.x <= shape.box.x + shape.box.width <= 640
        assert 0 <= shape.box.y <= shape.box.y + shape.box.height <= 480
        assert shape.label in trained.proto.classes


def test_a_video_is_seen_as_its_pictures_are(trained: ModelVersion, examples_dir: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with video.writing(clip) as writer:
        for number, path in enumerate(sorted((examples_dir / "blood-cells/JPEGImages").iterdir())[:6]):
            writer.add(Image.open(path).convert("RGB"), number / 5)
    found = list(trained.predict_video(clip, every=2, threshold=0.0, max_shapes=5))
    assert [(one.image.number, round(one.image.time, 3)) for one in found] == [(0, 0.0), (2, 0.4), (4, 0.8)]
    for one in found:
        assert one.prediction is not None
        assert one.prediction.shapes == trained.predict(one.image.image, threshold=0.0, max_shapes=5).shapes


@pytest.mark.real_server("triton")
async def test_the_exported_directory_predicts_the_same_in_triton(
    trained: ModelVersion, examples_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from bloomery_inference.runtime import LocalRuntime, TritonRuntime
    from bloomery_vision.images import decode
    from bloomery_vision.preprocess import letterbox
    from tests.inference.models import Folder

    files = trained.download(tmp_path)
    directory = next(file for file in files if file.name == "config.pbtxt").parent
    manifest = json.loads((directory / "manifest.json").read_text())
    assert {"1/model.onnx", "labels.txt"} <= {entry["path"] for entry in manifest["files"]}
    image = min((examples_dir / "blood-cells" / "JPEGImages").iterdir())
    batch = np.stack([letterbox(decode(image), (64, 64))[0]] * 2)
    server = request.getfixturevalue("triton")
    triton, local = TritonRuntime(server.grpc_url, server.repository), LocalRuntime(threads=1)
    answers = []
    for runtime in (triton, local):
        await runtime.load("cells", Folder(directory))
        answers.append((await runtime.infer("cells", batch))["output0"])
        await runtime.unload("cells")
        await runtime.close()
    assert answers[0].shape[0] == 2
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-4)


def test_the_command_line_does_the_main_job_as_documented(
    server: Server, trained: ModelVersion, examples_dir: Path, tmp_path: Path
) -> None:
    server.bloomery("project", "create", "cells")
    imported = server.bloomery("import", examples_dir / "blood-cells", "--project", "cells", "-o", "json")
    assert json.loads(imported.stdout)["itemCount"] == "60"
    server.bloomery("annotations", "validate", "--project", "cells")
    built = server.bloomery(
        "dataset", "build", "cli-v", "--project", "cells", "--split", "70/20/10", "--seed", "7", "--kind", "detect"
    )
    assert "cli-v" in built.stdout
    followed = server.bloomery(
        "train",
        "cli-v@1",
        "--recipe",
        "yolo-detect",
        "--base",
        "scratch",
        "--set",
        "epochs=2",
        "--set",
        "imgsz=64",
        "--follow",
    )
    assert "projects/cells/models/cli-v/versions/1" in followed.stdout
    jobs = json.loads(server.bloomery("jobs", "list", "--project", "cells", "-o", "json").stdout)
    assert [job["state"] for job in jobs] == ["JOB_STATE_SUCCEEDED"]
    assert "trainer" in server.bloomery("jobs", "logs", jobs[0]["name"]).stdout
    assert "onnx-fp32  READY" in followed.stdout
    image = min((examples_dir / "blood-cells" / "JPEGImages").iterdir())
    server.bloomery("predict", "cli-v@1", image, "--save", tmp_path / "drawn", "--threshold", "0")
    optimized = server.bloomery("optimize", "cli-v@1", "--to", "onnx")
    assert "parity          passed" in optimized.stdout
    server.bloomery("optimize", "cli-v@1", "--to", "onnx-int8", "--set", "calibration_images=8")
    listed = json.loads(server.bloomery("models", "variants", "cli-v@1", "-o", "json").stdout)
    assert [(one["precision"], one["state"]) for one in listed] == [("fp32", "STATE_READY"), ("int8", "STATE_READY")]
    assert all(one["latency"]["imagesPerSecond"] > 0 for one in listed)
    named = server.bloomery("predict", "cli-v@1", image, "--variant", "onnx-int8", "-o", "json")
    assert json.loads(named.stdout)[0]["variant"].endswith("/onnx-int8")
    with Image.open(tmp_path / "drawn" / image.name) as drawn:
        assert drawn.size == (640, 480)
    server.bloomery("export", "cli-v@1", "--format", "yolo", "--to", tmp_path / "yolo")
    assert len(list((tmp_path / "yolo" / "images").rglob("*.jpg"))) == 60
    assert len(list((tmp_path / "yolo" / "labels").rglob("*.txt"))) == 60


def test_a_cancelled_job_stops_with_nothing_left_running(client: Client, server: Server, trained: ModelVersion) -> None:
    job = client.dataset_version(DATASET).train("yolo-detect", base="scratch", epochs=100, imgsz=64, batch=8)
    for event in job.watch():
        if event.kind == "progress" and event.proto.progress.phase == "training":
            break
    job.cancel()
    states = [event.state for event in job.watch() if event.state]
    assert states[-1] == "CANCELLED"
    assert not list(workers(server.folder / "jobs"))
    assert [version.name for version in client.model("projects/trained/models/cells-v").versions()] == [trained.name]


def test_a_model_is_measured_as_its_training_measured_it(run: Run, trained: ModelVersion) -> None:
    done = command(run, "evaluate", trained.name, "--on", DATASET, "--name", "measure", "--follow", "-o", "json")
    job = json.loads(done.stdout)
    expected = {name: value for name, value in trained.metrics.items() if name.startswith("test/")}
    assert job["result"]["metrics"] == expected
    [evaluation] = job["evaluations"]
    assert (evaluation["split"], evaluation["images"]) == ("test", 10)
    assert {one["class"] for one in evaluation["per_class"]} == {"Platelets", "RBC", "WBC"}
    details = job["result"]["details"]
    assert details["model"]["version"] == trained.name
    assert details["dataset"] == {"version": DATASET, "content_hash": trained.lineage.dataset_hash}
    shown = command(run, "jobs", "watch", "projects/trained/jobs/measure").stdout
    assert "CLASS" in shown
    assert "Platelets" in shown


def test_predictions_on_a_dataset_version_are_those_of_the_server(
    run: Run, trained: ModelVersion, examples_dir: Path, tmp_path: Path
) -> None:
    options = ("--split", "all", "--threshold", "0.0", "--to", tmp_path)
    done = command(run, "predict-batch", trained.name, "--on", DATASET, *options)
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
    run: Run, client: Client, trained: ModelVersion, pictures: Path
) -> None:
    (pictures / "data.yaml").write_text("names: [RBC, WBC]\n")
    project = client.project("trained")
    project.import_folder(pictures)
    options = ("--assets", "name:png", "--to-annotations", "--threshold", "0.0", "-o", "json")
    done = command(run, "predict", trained.name, *options)
    told = [line.rpartition(", ")[2] for line in done.stderr.splitlines()]
    assert sorted(told) == ["left alone: people annotated it"] * 2 + ["saved"]
    seen = {one["asset"]: one["shapes"] for one in json.loads(done.stdout)}
    [bare] = project.assets(filter="name:2.png")
    saved = bare.annotation_set()
    assert (saved.provenance.source, saved.provenance.agent) == (Provenance.SOURCE_MODEL, trained.name)
    assert [shape.label.upper() for shape in saved.shapes] == [one["label"].upper() for one in seen[bare.name]]
    assert saved.shapes[0].confidence > 0
    # Other files' tests count what nobody annotated here, and what the version has seen.
    for asset in project.assets(filter="name:png"):
        asset.delete()


def test_a_model_file_becomes_a_version_that_does_all_that_others_do(
    run: Run, client: Client, trained: ModelVersion, examples_dir: Path, tmp_path: Path
) -> None:
    [weights] = [path for path in trained.download(tmp_path) if path.name == "best.pt"]
    arguments = ("--model", "mine", "--recipe", "yolo-detect", "--project", "trained", "--follow")
    imported = command(run, "models", "import", weights, *arguments)
    assert "projects/trained/models/mine/versions/1" in imported.stdout
    model = client.model_version("projects/trained/models/mine/versions/1")
    assert list(model.classes) == list(trained.classes)
    assert (model.lineage.dataset_version, model.lineage.base) == ("", "best.pt")
    assert (model.proto.input.height, model.proto.input.resize) == (64, "letterbox")
    optimized = command(run, "optimize", model.name, "--to", "onnx")
    assert "on generated images" in optimized.stdout
    image = min((examples_dir / "blood-cells" / "JPEGImages").iterdir())
    seen, known = (each.refresh().predict(image, threshold=0.0).shapes[0] for each in (model, trained))
    assert seen.label == known.label
    assert seen.confidence == pytest.approx(known.confidence, abs=1e-3)
    measured = model.evaluate(DATASET, split="val").wait()
    expected = {name: value for name, value in trained.metrics.items() if name.startswith("val/")}
    assert dict(measured.metrics) == expected
    images = measured.evaluations()[0].images
    told = command(run, "models", "better", model.name, trained.name, "--on", DATASET, "--split", "val").stdout
    assert f"not distinguishable with {images} images, whose figures are the same (by val/map50)" in told
    model.delete()
    assert [version.name for version in client.model("projects/trained/models/mine").versions()] == []
    passing = client.create_project("passing")
    passing.import_model(weights, model="mine", recipe="yolo-detect").wait().model_version()
    command(run, "project", "delete", "passing", "--cascade", "--yes")
    assert "passing" not in {one.id for one in client.projects()}
    assert list(client.models(project="passing")) == []


def test_the_server_is_ready_soon_small_and_without_torch(own_server: Server) -> None:
    own_server.start()
    process = psutil.Process(own_server.pid)
    # Of its own processor time, of which it takes 2 s: how long that lasts says what else the machine does.
    assert sum(process.cpu_times()[:2]) < 6
    assert process.memory_info().rss < 300 << 20
    assert not any("torch" in mapping.path for mapping in process.memory_maps())


def test_a_second_server_on_a_folder_says_what_to_do(server: Server) -> None:
    refused = server.bloomery("up", check=False)
    assert refused.returncode == 5
    assert "already runs" in refused.stderr
    assert "hint" in refused.stderr
