"""Augmentation policies in the recipes on our own loop."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from tests.worker.harness import TINY, attempt, job, recipe, trainer_for
from tests.worker.sample_data import Version

POLICY = "changes_size,moves_or_vibrates,intensity=high"


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_a_classifier_is_trained_with_a_policy_and_keeps_it(tags: Version, tmp_path: Path) -> None:
    given = {**TINY, "epochs": 1, "export": "none", "augment": POLICY}
    wanted = job("classify-resnet", "TRAIN", base="scratch", **given)
    trainer = await attempt(trainer_for(wanted, recipe("classify-resnet"), tags), tags.blobs, tmp_path)
    assert trainer.finished is not None
    assert MessageToDict(trainer.finished.success.details)["augmentation"] == POLICY
    kept = json.loads(trainer.content("augmentation"))
    assert [one["transform"] for one in kept["changes"]] == ["Affine", "MotionBlur", "GaussianBlur"]


def test_the_boxes_of_a_scene_and_their_classes_go_with_its_pixels() -> None:
    from bloomery_augment.pipeline import pipeline
    from bloomery_recipe_detr.images import Scene, changed

    pixels = np.zeros((96, 96, 3), np.uint8)
    pixels[40:56, 40:56] = 255
    boxes = np.array([[1.0, 1, 5, 5], [40, 40, 56, 56]])
    change = pipeline("distance=close,intensity=high")
    assert change is not None
    done = [changed(Scene(pixels, boxes, np.array([7, 3])), change, seed=seed) for seed in range(20)]
    assert {tuple(one.classes) for one in done} == {(7, 3), (3,)}
    for one in done:
        [box] = one.boxes[one.classes == 3]
        ys, xs = np.nonzero(one.pixels[..., 0] > 185)
        assert np.abs(box - [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).max() < 3
