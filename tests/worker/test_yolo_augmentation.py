"""What trainings change of their images, and what they leave as it is."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bloomery_worker.context import Context
from tests.worker.harness import TINY, defaults
from tests.worker.sample_data import Version, cached
from tests.worker.test_parts import JOB

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(300)]


class _SetUpError(Exception):
    pass


def set_up(
    version: Version, task: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: str | float
) -> Any:
    """A trainer of that task just before its first epoch."""
    from bloomery_recipe_yolo import environment, rehearsal

    environment.prepare(folder, folder)
    from bloomery_recipe_yolo.flavours import FLAVOURS
    from bloomery_recipe_yolo.training import train

    cache = cached(version, folder / "cache")
    work = replace(
        JOB, task=task, manifest=str(cache.path(version.index.digest)), cache_dir=str(cache.root),
        work_dir=str(folder), classes=version.classes, base="scratch", bases=("yolov8n.pt",),
        parameters={**defaults(f"yolo-{task}", "TRAIN"), **TINY, **parameters},
    )  # fmt: skip
    seen = []

    def report(_: Context, trainer: object) -> None:
        seen.append(trainer)
        raise _SetUpError

    monkeypatch.setattr(rehearsal, "report", report)
    with pytest.raises(_SetUpError):
        train(Context(work, lambda _: None, threading.Event()), FLAVOURS[task])
    return seen[0]


def albumentations_of(trainer: Any) -> Any:
    """The library's transform that holds those of Albumentations."""
    [found] = [
        one for one in trainer.train_loader.dataset.transforms.transforms if type(one).__name__ == "Albumentations"
    ]
    return found


def test_a_training_without_a_policy_changes_no_image_by_albumentations(
    cells: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = set_up(cells, "detect", tmp_path, monkeypatch)
    assert list(albumentations_of(trainer).transform) == []
