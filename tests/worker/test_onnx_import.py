"""Models that others exported as ONNX, imported as model versions."""

import asyncio
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import ModelInput
from bloomery_recipe_onnx.onnx_recipe import OnnxRecipe
from bloomery_vision.formats import Format
from bloomery_vision.interpret import Choice, detect, fit
from bloomery_worker.context import Context
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import ConfigError, ExportError
from bloomery_worker.parity import generated_images
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.foreign import answers, exported, read, to_onnx, wrapped
from tests.worker.foreign import job as import_job
from tests.worker.harness import attempt, defaults, job, recipe
from tests.worker.sample_data import Version, as_version, cached, digest, rows_of

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]
ONNX = "variant/1/model.onnx"


@pytest.fixture(scope="module")
def published(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published weights as Ultralytics exports them by default: for one image at a time."""
    [weights] = (test_data / "weights").glob("yolov8n*.pt")
    return exported(tmp_path_factory.mktemp("published"), str(weights), size=160)


@pytest.fixture(scope="module")
def coco(test_data: Path) -> Version:
    rows, blobs = rows_of(test_data / "coco-tiny", Format.COCO, per_split={"train": 8, "val": 6})
    return as_version(rows, blobs)


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after it was imported."""
    content = published.read_bytes()
    wanted = job("onnx-detect", "IMPORT", base="mine.onnx")
    wanted.dataset_version = ""
    trainer = FakeTrainer(wanted, recipe("onnx-detect"), manifest=None, classes=())
    trainer.base = Artifact(digest=digest(content), size_bytes=len(content), logical_key="p0/inputs/x")
    return asyncio.run(attempt(trainer, {"p0/inputs/x": content}, tmp_path_factory.mktemp("import")))


async def applied(
    kind: str,
    source: FakeTrainer,
    version: Version,
    folder: Path,
    parameters: Mapping[str, str | float],
    *,
    code: int = 0,
) -> FakeTrainer:
    """A job on the imported model."""
    wanted = job("onnx-detect", kind, base="", **parameters)
    trainer = FakeTrainer(wanted, recipe("onnx-detect"), manifest=version.index, classes=version.classes)
    trainer.base = source.kept[ONNX]
    blobs = {**version.blobs, trainer.base.logical_key: source.content(ONNX)}
    return await attempt(trainer, blobs, folder, code=code)


def test_an_imported_model_is_a_ready_variant_with_where_it_came_from(imported: FakeTrainer, published: Path) -> None:
    assert imported.finished is not None
    success = imported.finished.success
    assert sorted(imported.kept) == [
        ONNX,
        *(f"variant/{name}" for name in ("config.pbtxt", "labels.txt", "manifest.json")),
    ]
    model, [variant] = success.model, success.variants
    assert model.input == ModelInput(height=160, width=160, resize="letterbox")
    assert (model.decoder, len(model.classes), model.classes[0]) == ("yolo", 80, "person")
    assert (model.base, model.base_digest) == ("mine.onnx", digest(published.read_bytes()))
    assert model.license.startswith("AGPL-3.0")
    assert (variant.id, variant.failure, variant.parity.passed) == ("onnx-fp32", "", True)
    assert (variant.parity.max_geometry_error, variant.parity.max_score_error) == (0, 0)
    assert variant.latency.p50_ms > 0
    details = MessageToDict(success.details)
    assert details["file"]["producer"].startswith("pytorch 2")
    assert details["input"] == {"layout": "nchw", "divisor": 255, "mean": [0, 0, 0], "deviation": [1, 1, 1], "batch": 1}


def test_it_sees_on_an_image_what_its_file_sees(
    imported: FakeTrainer, published: Path, coco: Version, tmp_path: Path
) -> None:
    cache = cached(coco, tmp_path / "cache")
    dataset = Dataset.open(cache.path(coco.index.digest), cache)
    (tmp_path / "served.onnx").write_bytes(imported.content(ONNX))
    seen = 0
    for row in dataset.rows("val"):
        fitted = fit(dataset.image(row), (160, 160), "letterbox")
        [ours] = answers(tmp_path / "served.onnx", fitted.pixels[None])
        [theirs] = answers(published, (fitted.pixels[None].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32))
        assert np.array_equal(ours, theirs)
        seen += len(detect("yolo", ours[0], 80, Choice(conf=0.3)).scores)
    assert seen > 3


async def test_it_is_measured_and_predicts(imported: FakeTrainer, coco: Version, tmp_path: Path) -> None:
    measured = await applied("EVALUATE", imported, coco, tmp_path, {"split": "val"})
    assert measured.finished is not None
    assert measured.finished.success.metrics["val/map50"] > 0.15
    (tmp_path / "predict").mkdir()
    predicted = await applied("PREDICT", imported, coco, tmp_path / "predict", {"split": "val"})
    assert len(predicted.content("predictions").splitlines()) == 6


@pytest.mark.parametrize(("format", "precision"), [("openvino", "fp32"), ("onnx", "int8")])
async def test_other_forms_are_made_of_it(
    imported: FakeTrainer, coco: Version, tmp_path: Path, format: str, precision: str
) -> None:
    options: dict[str, str | float] = {"format": format, "precision": precision, "images": 6, "calibration_images": 8}
    made = await applied("OPTIMIZE", imported, coco, tmp_path, options)
    assert made.finished is not None
    [variant] = made.finished.success.variants
    assert (variant.id, variant.parity.passed) == (f"{format}-{precision}", True)
    assert variant.parity.original_metric > 0.15
    smaller = len(made.content(ONNX)) < 0.4 * len(imported.content(ONNX)) if format == "onnx" else False
    assert smaller == (precision == "int8")


def test_heads_without_suppression_are_read_as_they_are(tmp_path: Path) -> None:
    file = exported(tmp_path, "yolo26n.yaml", size=160, nms=False)
    target, understood = wrapped(file, "detect", tmp_path, {})
    assert (understood.reading.decoder, understood.form.batch) == ("yolo-end-to-end", 1)
    images = generated_images(3, (160, 160))
    [together] = answers(target, images)
    for image, one in zip(images, together, strict=True):
        [alone] = answers(file, (image[None].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32))
        assert np.allclose(one, alone[0], atol=1e-3)


def test_segmenters_are_imported_with_their_masks(tmp_path: Path) -> None:
    file = exported(tmp_path, "yolo11n-seg.yaml", size=96, dynamic=True)
    target, understood = wrapped(file, "segment", tmp_path, {"input": "96x64"})
    assert (understood.form.size, understood.reading.outputs) == ((64, 96), ("output0", "output1"))
    boxes, masks = answers(target, generated_images(2, (64, 96)))
    assert (boxes.shape, masks.shape) == ((2, 4 + 80 + 32, 126), (2, 32, 16, 24))


def test_a_classifier_of_torchvision_gets_its_scale_and_its_softmax(tmp_path: Path) -> None:
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, num_classes=3).eval()
    file = tmp_path / "resnet18.onnx"
    to_onnx(model, torch.zeros(1, 3, 64, 64), file)
    with pytest.raises(ConfigError) as refused:
        read(file, "classify", tmp_path / "asked", {}, run=False)
    assert "say by --scale" in str(refused.value)
    assert "it has 3 classes, whose names it does not say: give them by --classes" in str(refused.value)
    target, understood = wrapped(file, "classify", tmp_path, {"scale": "imagenet", "classes": "a\nb\nc"})
    images = generated_images(2, (64, 64))
    [found] = answers(target, images)
    normal = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = model(normal(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)).softmax(1).numpy()
    assert understood.reading.is_logits
    assert np.allclose(found, expected, atol=1e-5)


def test_a_form_that_cannot_be_made_of_a_graph_says_why(tags: Version, tmp_path: Path) -> None:
    import torch

    layers = torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    to_onnx(torch.nn.Sequential(*layers).eval(), torch.zeros(1, 3, 32, 32), tmp_path / "old.onnx", opset=12)
    said = {"classes": "\n".join(tags.classes), "scale": "1/255"}
    target, _ = wrapped(tmp_path / "old.onnx", "classify", tmp_path, said)
    cache = cached(tags, tmp_path / "cache")
    spec = replace(
        import_job(target, "classify", tmp_path, {**defaults("onnx-classify", "OPTIMIZE"), "precision": "int8"}).job,
        kind="OPTIMIZE",
        manifest=str(cache.path(tags.index.digest)),
        cache_dir=str(cache.root),
    )
    with pytest.raises(ExportError, match=r"onnx-int8 cannot be made of this graph: .*DequantizeLinear"):
        OnnxRecipe().run(Context(spec, lambda _: None, threading.Event()))


def test_what_a_training_of_ours_made_is_imported_from_its_folder(detector: FakeTrainer, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for role in detector.kept:
            if role.startswith("variant/"):
                archive.writestr(role.removeprefix("variant/"), detector.content(role))
    assert detector.finished is not None
    target, understood = wrapped(tmp_path / "mine.zip", "detect", tmp_path, {})
    assert understood.classes == tuple(detector.finished.success.model.classes)
    assert (understood.form.data_type, understood.form.layout) == ("uint8", "nhwc")
    (tmp_path / "model.onnx").write_bytes(detector.content(ONNX))
    images = generated_images(2, (64, 64))
    assert np.array_equal(answers(target, images)[0], answers(tmp_path / "model.onnx", images)[0])
