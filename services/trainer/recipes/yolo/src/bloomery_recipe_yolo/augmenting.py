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


def arguments(policy: Policy | None) -> Mapping[str, object]:
    """The library's argument for a policy's transforms.

    Without a policy nothing may find Albumentations: the library would blur and grey some images by itself, and wait
    seconds until it is loaded.
    """
    if policy is None:
        sys.modules[_LIBRARY] = None  # type: ignore[assignment]
        return {}
    from bloomery_augment.pipeline import transforms

    return {"augmentations": transforms(policy)}


def check(trainer: BaseTrainer) -> None:
    """Looks whether the policy's transforms are at work: the library only logs that it could not make them."""
    wanted = len(getattr(trainer.args, "augmentations", None) or ())
    done = len(_at_work(trainer.train_loader.dataset))
    assert done == wanted, f"{done} of {wanted} transforms of the policy are at work"


def _at_work(dataset: Any) -> Any:
    steps = getattr(dataset, "torch_transforms", None) or dataset.transforms
    found = [one.transform for one in steps.transforms if type(one).__name__ in ("Albumentations", "OnPictures")]
    return next(iter(found), None) or ()


class OnPictures:
    """The transforms for classifiers, which the library trains without them.

    Args:
        stored: the transforms, as the trainer's arguments have them.
    """

    def __init__(self, stored: list[dict[str, Any]]) -> None:
        import albumentations as A  # noqa: N812 - its own documentation calls it so

        self.transform = A.Compose([A.from_dict(one) for one in stored])

    def __call__(self, picture: Image.Image) -> Image.Image:
        """A changed copy. It depends on the state of `random` alone, which each epoch sets."""
        self.transform.set_random_seed(random.getrandbits(32))
        return Image.fromarray(self.transform(image=np.asarray(picture))["image"])
