"""Adapters: small trainings beside a base that stays as it is, and what they publish."""

import asyncio
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import attempt, job, recipe, trainer_for
from tests.worker.sample_data import Version, digest

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]

SHORT: Mapping[str, object] = {
    "epochs": 2,
    "imgsz": 64,
    "batch": 4,
    "nbs": 4,
    "export": "none",
    "sample_predictions": 0,
}


@pytest.fixture(scope="module")
def adapted(detector: FakeTrainer, cells: Version, tmp_path_factory: pytest.TempPathFactory) -> FakeTrainer:
    """The service after a training with an adapter whose base is the detector."""
    trainer = on_base("yolo-detect", detector, cells, method="lora", lora_control=0.0)
    folder = tmp_path_factory.mktemp("adapted")
    return asyncio.run(attempt(trainer, blobs_of(trainer, detector, cells), folder))


def on_base(name: str, base: FakeTrainer, version: Version, **parameters: object) -> FakeTrainer:
    """The service with a training that begins with the model that `base` was given."""
    trainer = trainer_for(job(name, "TRAIN", base="mine.pt", **{**SHORT, **parameters}), recipe(name), version)
    trainer.base = base.kept["checkpoint"]
    return trainer


def blobs_of(trainer: FakeTrainer, base: FakeTrainer, version: Version) -> dict[str, bytes]:
    assert trainer.base is not None
    return {**version.blobs, trainer.base.logical_key: base.content("checkpoint")}


def details_of(trainer: FakeTrainer) -> Mapping[str, Any]:
    assert trainer.finished is not None
    said: Mapping[str, Any] = MessageToDict(trainer.finished.success.details)["adapter"]
    return said


def write(trainer: FakeTrainer, role: str, path: Path) -> Path:
    path.write_bytes(trainer.content(role))
    return path


async def test_an_adapter_is_published_beside_a_model_that_needs_no_peft(adapted: FakeTrainer) -> None:
    said = details_of(adapted)
    assert said["trained"] == "lora"
    assert 0 < said["trainable_share"] < 0.15
    assert said["bytes"] == adapted.kept["adapter"].size_bytes
    assert said["bytes"] <= 0.15 * adapted.kept["checkpoint"].size_bytes
    assert said["merged"]["images"] == 4
    assert said["merged"]["max_geometry_error"] < 0.02
    assert b"peft" not in adapted.content("checkpoint")
    assert b"lora_A" not in adapted.content("checkpoint")


async def test_the_base_with_the_adapter_is_the_published_model_to_the_bit(
    adapted: FakeTrainer, detector: FakeTrainer, tmp_path: Path
) -> None:
    from bloomery_recipe_yolo.lora.merging import merged

    adapter = write(adapted, "adapter", tmp_path / "adapter.safetensors")
    base = write(detector, "checkpoint", tmp_path / "base.pt")
    model, origin = merged(adapter, base)
    assert origin.base_digest == adapted.base.digest if adapted.base else ""
    assert tuple(origin.classes) == adapted.classes
    published = states(write(adapted, "checkpoint", tmp_path / "best.pt"))
    assert published.keys() == model.state_dict().keys()
    assert [name for name, value in model.half().state_dict().items() if not value.equal(published[name])] == []
    changed = [name for name, value in states(base).items() if not value.equal(published[name])]
    assert any(name.startswith("model.0.") for name in changed)
    assert [name for name in changed if ".bn." in name] == []


async def test_an_adapter_is_put_on_no_other_base(adapted: FakeTrainer, tmp_path: Path) -> None:
    from bloomery_recipe_yolo.lora.merging import merged
    from bloomery_worker.failures import ConfigError

    adapter = write(adapted, "adapter", tmp_path / "adapter.safetensors")
    other = write(adapted, "checkpoint", tmp_path / "other.pt")
    with pytest.raises(ConfigError, match="another base"):
        merged(adapter, other)
    other.rename(adapter)
    with pytest.raises(ConfigError, match="no adapter"):
        merged(adapter, adapter)


def states(path: Path) -> Mapping[str, Any]:
    from bloomery_recipe_yolo.model import read_checkpoint

    state: Mapping[str, Any] = read_checkpoint(path)[0].half().state_dict()
    return state


async def test_the_better_of_two_short_trainings_goes_on_and_is_remembered(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    trainer = on_base("yolo-detect", detector, cells, method="auto", lora_control=0.5)
    await attempt(trainer, blobs_of(trainer, detector, cells), place(tmp_path / "first"))
    said = details_of(trainer)
    control = said["control"]
    assert control["metric"] == "val/map50"
    assert control["epochs"] == 1
    assert said["trained"] == ("full" if control["full"] > control["adapter"] else "lora")
    assert ("adapter" in trainer.kept) is (said["trained"] == "lora")
    phases = [event.progress.phase for event in trainer.of_kind("progress")]
    assert phases.index("preflight") < phases.index("comparing") < phases.index("training")
    assert len(trainer.of_kind("preflight")) == 1

    last = max(event.checkpoint.epoch for event in trainer.of_kind("checkpoint"))
    again = replace(trainer.successor(last), base=trainer.base)
    await attempt(again, blobs_of(trainer, detector, cells), place(tmp_path / "again"))
    assert details_of(again) == said
    assert "comparing" not in [event.progress.phase for event in again.of_kind("progress")]


async def test_all_that_contradicts_an_adapter_is_said_at_once(cells: Version, tmp_path: Path) -> None:
    wrong = {"method": "auto", "freeze": 3, "optimizer": "MuSGD", "lora_control": 0.0}
    trainer = trainer_for(
        job("yolo-detect", "TRAIN", base="scratch", **{**SHORT, **wrong}), recipe("yolo-detect"), cells
    )
    await attempt(trainer, cells.blobs, tmp_path, code=42)
    assert trainer.finished is not None
    reason = trainer.finished.failure.reason
    assert reason.code == "CONFIG_ERROR"
    for part in ("scratch", "freeze", "MuSGD", "lora_control"):
        assert part in reason.message


def place(path: Path) -> Path:
    path.mkdir()
    return path


async def test_an_adapter_with_its_base_is_imported_as_the_model_that_training_published(
    adapted: FakeTrainer, detector: FakeTrainer, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("adapter.safetensors", adapted.content("adapter"))
        archive.writestr("base.pt", detector.content("checkpoint"))
    again = await imported("packed.zip", packed.read_bytes(), place(tmp_path / "again"))
    assert again.finished is not None
    model = again.finished.success.model
    assert (model.base, model.base_digest) == ("mine.pt", detector.kept["checkpoint"].digest)
    assert tuple(model.classes) == adapted.classes
    wanted = states(write(adapted, "checkpoint", tmp_path / "wanted.pt"))
    found = states(write(again, "checkpoint", tmp_path / "found.pt"))
    assert [name for name in wanted if not wanted[name].equal(found[name])] == []


async def imported(name: str, content: bytes, folder: Path, *, code: int = 0) -> FakeTrainer:
    """The service after a worker has imported a file for it."""
    wanted = job("yolo-detect", "IMPORT", base=name)
    wanted.dataset_version = ""
    trainer = FakeTrainer(wanted, recipe("yolo-detect"), manifest=None, classes=())
    trainer.base = Artifact(digest=digest(content), size_bytes=len(content), logical_key="p0/inputs/x", file_name=name)
    return await attempt(trainer, {"p0/inputs/x": content}, folder, code=code)
