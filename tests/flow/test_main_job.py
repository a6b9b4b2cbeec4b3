"""The main job through the real services: from labelled images to predictions, by the client and the command line."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from bloomery import Client, ModelVersion
from tests.flow.conftest import Server

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]


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


async def test_the_exported_directory_predicts_the_same_in_triton(
    trained: ModelVersion, examples_dir: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from bloomery_inference.runtime import OnnxRuntime, TritonRuntime
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
    triton, local = TritonRuntime(server.grpc_url, server.repository), OnnxRuntime(threads=1)
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
    with Image.open(tmp_path / "drawn" / image.name) as drawn:
        assert drawn.size == (640, 480)
    server.bloomery("export", "cli-v@1", "--format", "yolo", "--to", tmp_path / "yolo")
    assert len(list((tmp_path / "yolo" / "images").rglob("*.jpg"))) == 60
    assert len(list((tmp_path / "yolo" / "labels").rglob("*.txt"))) == 60


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
