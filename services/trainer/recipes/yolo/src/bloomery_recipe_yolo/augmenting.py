"""Augmentation policies in the library's trainings."""

import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from bloomery_augment.policy import Policy
from bloomery_recipe_yolo.library import BaseTrainer

_LIBRARY = "albumentations"


def arguments(policy: Policy | None, task: str) -> Mapping[str, object]:
    """The library's argument for a policy's transforms.

    Without a policy nothing may find Albumentations: the library would blur and grey some images by itself, and wait
    seconds until it is loaded.
    """
    if policy is None:
        sys.modules[_LIBRARY] = None  # type: ignore[assignment]
        return {}
    from bloomery_augment.pipeline import sequence

    # Of boxes and outlines the library has images as OpenCV reads them; to classify it has pictures of Pillow.
    return {"augmentations": [sequence(policy, bgr=task != "classify")]}


def check(trainer: BaseTrainer) -> None:
    """Looks whether a policy is at work: the library only logs that it could not make its transforms."""
    if getattr(trainer.args, "augmentations", None):
        dataset = trainer.train_loader.dataset
        steps = getattr(dataset, "torch_transforms", None) or dataset.transforms
        assert any(getattr(one, "transform", None) for one in steps.transforms), "the policy is not at work"


class OnPictures:
    """The transforms for classifiers, which the library trains without them.

    Args:
        stored: the transforms, as the trainer's arguments have them.
    """

    def __init__(self, stored: list[dict[str, Any]]) -> None:
        import albumentations as A  # noqa: N812 - its own documentation calls it so

        import bloomery_augment.pipeline  # noqa: F401 - our own transforms are known by then

        self.transform = A.Compose([A.from_dict(one) for one in stored])

    def __call__(self, picture: Image.Image) -> Image.Image:
        """A changed copy. It depends on the state of `random` alone, which each epoch sets."""
        self.transform.set_random_seed(random.getrandbits(32))
        return Image.fromarray(self.transform(image=np.asarray(picture))["image"])
