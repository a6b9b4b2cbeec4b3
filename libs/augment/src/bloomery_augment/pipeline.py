"""Policies done to images, with Albumentations."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Else it asks a server of its makers whether there is a newer one.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A  # noqa: N812 - its own documentation calls it so

from bloomery_augment.bending import Bend
from bloomery_augment.hiding import HideParts
from bloomery_augment.independent import Independent
from bloomery_augment.kinds import KINDS
from bloomery_augment.policy import Policy
from bloomery_augment.rules import Change, changes
from bloomery_augment.turning import SwapRedAndBlue

GREY = 114
"""Of what comes into view beyond the image's border: the grey that images are padded with everywhere else."""

Pixels = NDArray[np.uint8]
Numbers = NDArray[np.float32]

_FIXED: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "Affine": {"fill": GREY},
        "Perspective": {"fill": GREY},
        # By remapping them as the image is; the other way draws an image for each point.
        "GridDistortion": {"fill": GREY, "keypoint_remapping_method": "direct"},
        "RandomShadow": {"shadow_roi": (0, 0, 1, 1)},
        "Illumination": {"mode": "gaussian"},
        # The smear is around where the pixels are, and so are the labels.
        "MotionBlur": {"allow_shifted": False},
        "HideParts": {"fill": "random_uniform"},
    }
)
"""Arguments that no policy changes."""

_OURS: Mapping[str, type[A.BasicTransform]] = MappingProxyType({one.__name__: one for one in (Bend, HideParts)})


def sequence(policy: Policy, *, bgr: bool = False) -> Independent:
    """The transforms of a policy, new ones, in the order in which they are done, as one.

    It keeps the size of an image, uint8 [H, W, 3], and the order of its channels: RGB, or with `bgr` BGR.
    """
    done = [_transform(change) for change in changes(policy)]
    return Independent([SwapRedAndBlue(p=1), *done, SwapRedAndBlue(p=1)] if bgr else done, p=1)


@dataclass(frozen=True, slots=True)
class Augmented:
    """An image that was changed, and what of its labels is still in it.

    Attributes:
        image: uint8 [H, W, 3], of the size that it had.
        kept: int64 [M], which of the N objects are still in the image at least in part, in their order.
        boxes: float32 [M, 4], (x1, y1, x2, y2) in pixels, cut at the border.
        polygons: M outlines, float32 [P, 2] each, (x, y) in pixels; not cut.
        masks: uint8 [M, H, W].
        points: float32 [K, 2], all of them; those outside are beyond the border.
    """

    image: Pixels
    kept: NDArray[np.int64]
    boxes: Numbers
    polygons: tuple[Numbers, ...]
    masks: Pixels
    points: Numbers


class Pipeline:
    """Changes images at random, and what is labelled on them alike.

    Args:
        policy: what to change.
        seed: of the random numbers: the same one gives the same changes to the same images in the same order.
    """

    def __init__(self, policy: Policy, *, seed: int = 0) -> None:
        self._moves = any(KINDS[change.transform].moves for change in changes(policy))
        labels = {
            "bbox_params": A.BboxParams("pascal_voc", label_fields=["object"]),
            "keypoint_params": A.KeypointParams("xy", label_fields=["point"], remove_invisible=False),
        }
        self._compose = A.Compose([sequence(policy)], seed=seed, **(labels if self._moves else {}))

    def __call__(
        self,
        image: Pixels,
        *,
        boxes: Numbers | None = None,
        polygons: Sequence[Numbers] = (),
        masks: Pixels | None = None,
        points: Numbers | None = None,
        seed: int | None = None,
    ) -> Augmented:
        """A changed copy.

        Args:
            image: uint8 [H, W, 3], RGB.
            boxes: float32 [N, 4], (x1, y1, x2, y2) in pixels, of its N objects; what is beyond the border is cut off,
                and an object of which nothing is left is not kept.
            polygons: outlines of the same objects, float32 [P, 2] each, (x, y) in pixels; empty for none.
            masks: uint8 [N, H, W] of the same objects; None for none.
            points: float32 [K, 2], (x, y) in pixels, of no object in particular.
            seed: makes this call's changes depend on nothing else, so that any process can make them, in any order.
        """
        if seed is not None:
            self._compose.set_random_seed(seed)
        given = Augmented(
            image,
            np.arange(0 if boxes is None else len(boxes)),
            _numbers(boxes, 4),
            tuple(_numbers(one, 2) for one in polygons),
            np.zeros((0, *image.shape[:2]), np.uint8) if masks is None else masks,
            _numbers(points, 2),
        )
        return self._moved(given) if self._moves else replace(given, image=self._compose(image=image)["image"])

    def _moved(self, given: Augmented) -> Augmented:
        corners = np.concatenate([given.points, *given.polygons])
        boxes = given.boxes.clip(0, np.tile(given.image.shape[1::-1], 2))
        whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
        done = self._compose(
            image=given.image,
            bboxes=boxes[whole],
            object=given.kept[whole],
            keypoints=corners,
            point=np.arange(len(corners)),
            **({"masks": given.masks} if len(given.masks) else {}),
        )
        kept = np.asarray(done["object"], np.int64).reshape(-1)
        moved = _numbers(done["keypoints"], 2)
        ends = np.cumsum([len(given.points), *(len(one) for one in given.polygons)])
        points, *outlines = np.split(moved, ends[:-1])
        return Augmented(
            image=done["image"],
            kept=kept,
            boxes=_numbers(done["bboxes"], 4),
            polygons=tuple(outlines[index] for index in kept) if outlines else (),
            masks=np.asarray(done["masks"])[kept] if len(given.masks) else given.masks,
            points=points,
        )


def pipeline(policy: str, *, seed: int = 0) -> Pipeline | None:
    """The pipeline of a policy as people write it; None for an empty one.

    Raises:
        PolicyError: with everything that is wrong.
    """
    return Pipeline(Policy.parse(policy), seed=seed) if policy.strip() else None


def _numbers(values: ArrayLike | None, columns: int) -> Numbers:
    return np.asarray([] if values is None else values, np.float32).reshape(-1, columns)


def _transform(change: Change) -> A.BasicTransform:
    kind = _OURS.get(change.transform) or getattr(A, change.transform)
    arguments: dict[str, Any] = {**change.ranges, **_FIXED.get(change.transform, {})}
    return kind(**arguments, p=change.likely)
