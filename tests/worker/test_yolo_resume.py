"""A training that is killed and goes on ends with the same bits as one that is left alone."""

import io
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from bloomery.training.v1 import DIRECTIVE_CANCEL
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import TINY, attempt, defaults, job, recipe, running, served, trainer_for
from tests.worker.sample_data import Version

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]

EPOCHS = 4
# Gradients cross epochs, warm-up ends in mid-epoch, and mosaics stop shortly before the end.
PARAMETERS: Mapping[str, object] = {
    "epochs": EPOCHS, "imgsz": 64, "batch": 4, "nbs": 16, "warmup_epochs": 1.5, "close_mosaic": 1, "seed": 5,
    "export": "none",
}  # fmt: skip


# What moves pixels, noise, and what covers them: each draws its own random numbers. With more of it the library's loss
# of masks on images of 64 pixels was no number once, and it goes back to its last file by itself then.
POLICY = "changes_shape,partially_hidden,lighting=poor"


@pytest.mark.parametrize(
    ("name", "data", "policy"),
    [("yolo-detect", "cells", ""), ("yolo-segment", "outlines", POLICY), ("yolo-classify", "tags", POLICY)],
)
async def test_killed_and_resumed_equals_uninterrupted(
    name: str, data: str, policy: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    version: Version = request.getfixturevalue(data)
    straight = await finished(begun(name, version, augment=policy), version, tmp_path / "straight")
    broken = begun(name, version, augment=policy)
    async with served(broken, version), running(broken, folder(tmp_path / "broken")) as worker:
        await broken.until(lambda trainer: bool(trainer.of_kind("checkpoint")))
        os.kill(worker.trainer_pid(), signal.SIGKILL)
        assert await worker.exit_code() == 1, worker.output
    assert broken.finished is not None
    assert broken.finished.failure.reason.code == "WORKER_LOST"
    epoch = broken.of_kind("checkpoint")[-1].checkpoint.epoch
    assert 1 <= epoch < EPOCHS

    resumed = await finished(broken.successor(epoch), version, tmp_path / "resumed")

    # By name: to show how megabytes differ would take longer than the training.
    assert [name for name in straight if resumed[name] != straight[name]] == []
    assert straight["policy"] == policy


async def test_an_adapter_with_dropout_that_is_killed_and_resumed_equals_uninterrupted(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    base = detector.kept["checkpoint"]
    version = replace(cells, blobs={**cells.blobs, base.logical_key: detector.content("checkpoint")})

    def adapting() -> FakeTrainer:
        adapter = {"method": "lora", "lora_dropout": 0.2, "lora_control": 0.0}
        parameters = {**PARAMETERS, **adapter}
        return replace(
            trainer_for(job("yolo-detect", "TRAIN", base="mine.pt", **parameters), recipe("yolo-detect"), version),
            base=base,
        )

    straight = adapting()
    wanted = await finished(straight, version, tmp_path / "straight")
    # Nothing is left but its first checkpoint, as when the machine dies.
    resumed = replace(straight.successor(straight.of_kind("checkpoint")[0].checkpoint.epoch), base=base)
    found = await finished(resumed, version, tmp_path / "resumed")
    assert [name for name in wanted if found[name] != wanted[name]] == []
    for role in ("checkpoint", "adapter"):
        assert resumed.kept[role].digest == straight.kept[role].digest


async def test_death_in_the_final_evaluation_costs_no_epoch(
    detector: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    import torch

    again = detector.successor(TINY["epochs"])
    await attempt(again, cells.blobs, tmp_path)
    assert detector.finished is not None
    assert again.finished is not None
    assert again.of_kind("metrics") == []
    assert again.finished.success.metrics == detector.finished.success.metrics
    assert again.finished.success.details["data"] == detector.finished.success.details["data"]
    assert published(again) == published(detector)
    assert not {"git", "date"} & torch.load(io.BytesIO(again.content("checkpoint")), weights_only=False).keys()
    assert str(tmp_path).encode() not in again.content("checkpoint")


async def test_a_cancelled_training_stops_in_mid_epoch_and_keeps_its_checkpoint(cells: Version, tmp_path: Path) -> None:
    trainer = trainer_for(
        job("yolo-detect", "TRAIN", base="scratch", **{**PARAMETERS, "epochs": 1000}), recipe("yolo-detect"), cells
    )
    async with served(trainer, cells), running(trainer, tmp_path) as worker:
        await trainer.until(lambda trainer: bool(trainer.of_kind("checkpoint")))
        trainer.directive = DIRECTIVE_CANCEL
        assert await worker.exit_code(seconds=30) == 44, worker.output
    assert trainer.finished is not None
    epoch = trainer.finished.stopped.epoch
    assert epoch >= 1
    assert f"checkpoint-manifest/{epoch}" in trainer.kept


def begun(name: str, version: Version, **given: str) -> FakeTrainer:
    known = defaults(name, "TRAIN")
    parameters = {key: value for key, value in {**PARAMETERS, **given}.items() if key in known}
    return trainer_for(job(name, "TRAIN", base="scratch", **parameters), recipe(name), version)


def folder(path: Path) -> Path:
    path.mkdir()
    return path


async def finished(trainer: FakeTrainer, version: Version, place: Path) -> Mapping[str, object]:
    """Trains to the end and returns what has to be the same."""
    await attempt(trainer, version.blobs, folder(place))
    state = last_state(trainer, place / "work")
    assert trainer.finished is not None
    measured = dict(trainer.finished.success.metrics)
    return {**comparable(state), "measured": measured, "published": published(trainer), "policy": policy_of(trainer)}


def policy_of(trainer: FakeTrainer) -> str:
    """What is kept of the augmentation policy; empty for none."""
    assert trainer.finished is not None
    details = trainer.finished.success.details
    if "augmentation" not in details:
        assert "augmentation" not in trainer.kept
        return ""
    kept = json.loads(trainer.content("augmentation"))
    assert kept["text"] == details["augmentation"]
    assert [one["transform"] for one in kept["changes"]][:2] == ["Affine", "Perspective"]
    return str(kept["text"])


def last_state(trainer: FakeTrainer, work_dir: Path) -> Mapping[str, object]:
    """The state after the last epoch, which was uploaded, or was not because the training had ended."""
    import torch

    role = f"checkpoint/{EPOCHS}/state.pt"
    local = work_dir / "checkpoints" / str(EPOCHS) / "state.pt"
    content = local.read_bytes() if local.exists() else trainer.content(role)
    state: Mapping[str, object] = torch.load(io.BytesIO(content), weights_only=True)
    return state


def comparable(state: Mapping[str, object]) -> dict[str, object]:
    """Tensors by digest, and nothing that depends on the clock."""
    table = [line.split(",") for line in str(state["table"]).splitlines()]
    timeless = [row[:1] + row[2:] for row in table]
    kept = {key: plain(value) for key, value in state.items() if key not in {"elapsed", "table"}}
    return {**kept, "table": timeless}


def plain(value: object) -> object:
    import torch

    match value:
        case torch.Tensor():
            return value.dtype, tuple(value.shape), sha256(value.contiguous().numpy().tobytes()).hexdigest()
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value


def published(trainer: FakeTrainer) -> str:
    """The table of epochs without its times."""
    rows = [line.split(",") for line in trainer.content("metrics").decode().splitlines()]
    return "\n".join(",".join(row[:1] + row[2:]) for row in rows)
