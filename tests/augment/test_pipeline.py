"""Labels follow the pixels: of every transform, at every intensity, and of whole policies."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bloomery_augment.kinds import KINDS
from bloomery_augment.pipeline import Augmented, Pipeline, pipeline
from bloomery_augment.policy import CHARACTERISTICS, ENVIRONMENT, INTENSITIES, Policy, PolicyError
from bloomery_augment.rules import changes
from tests.augment.test_policy import POLICIES

SIDE = 160
NEAR = 2.0
"""Pixels: a half on either side is blended away where it is moved by a fraction, and corners are."""


def box_of(x: int, y: int, width: int, height: int) -> NDArray[np.float32]:
    return np.array([x, y, min(x + width, SIDE), min(y + height, SIDE)], np.float32)


SIZES = st.integers(8, 60)
INSIDE = st.builds(box_of, st.integers(50, 60), st.integers(50, 60), SIZES, SIZES)
"""Boxes that nothing moves out of the image."""
ANYWHERE = st.builds(box_of, st.integers(0, SIDE - 8), st.integers(0, SIDE - 8), SIZES, SIZES)
SEEDS = st.integers(0, 2**32 - 1)
PARTS = [*CHARACTERISTICS, *(f"{key}={value}" for key, values in ENVIRONMENT.items() for value in values[1:])]
MOVES = [(part, one.transform) for part in PARTS for one in changes(Policy.parse(part)) if KINDS[one.transform].moves]
"""The transforms that move pixels, by the parts of a policy that ask for them."""


def moving(policy: Policy, only: str = "") -> Pipeline:
    """The pipeline of a policy, of which each transform that moves pixels does so with each image, or one alone."""
    made = Pipeline(policy)
    for one in made._compose.transforms[0].transforms:
        name = type(one).__name__
        one.p = float(KINDS[name].moves and only in ("", name))
    return made


def marked(box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A black image on which one object is white."""
    x1, y1, x2, y2 = box.astype(int)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


def outline(box: NDArray[np.float32], count: int = 24) -> NDArray[np.float32]:
    x1, y1, x2, y2 = box
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)])
    sides = [np.linspace(corners[side], corners[side + 1], count, endpoint=False) for side in range(4)]
    return np.concatenate(sides).astype(np.float32)


def around(pixels: NDArray[np.bool_]) -> NDArray[np.float32]:
    ys, xs = np.nonzero(pixels)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)


def done_to(made: Pipeline, box: NDArray[np.float32], seed: int) -> tuple[Augmented, NDArray[np.bool_]]:
    """An image with one object after it was changed, and the pixels of the object."""
    mask = marked(box)[..., 0] // 255
    done = made(marked(box), boxes=box[None], polygons=[outline(box)], masks=mask[None], points=outline(box), seed=seed)
    # Grey is what comes in from beyond the border.
    return done, done.image[..., 0] > 185


def near(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool((np.abs(one - other) <= NEAR).all())


@given(asked=st.sampled_from(MOVES), box=INSIDE, seed=SEEDS, intensity=st.sampled_from(INTENSITIES))
@settings(max_examples=200, deadline=None)
def test_boxes_outlines_masks_and_points_follow_the_pixels(
    asked: tuple[str, str], box: NDArray[np.float32], seed: int, intensity: str
) -> None:
    # Property: what is labelled is where its pixels are, whatever moves them.
    part, transform = asked
    done, pixels = done_to(moving(Policy.parse(f"{part},intensity={intensity}"), transform), box, seed)
    [found], [line] = done.boxes, done.polygons
    if (line.min(0) > 0).all() and (line.max(0) < SIDE).all():
        assert near(found, around(pixels)), (found, around(pixels))
        assert near(np.concatenate([line.min(0), line.max(0)]), around(pixels))
    assert np.mean((done.masks[0] > 0) != pixels) < 0.02
    assert np.abs(done.points - line).max() < 0.01


@given(policy=POLICIES, box=ANYWHERE, seed=SEEDS)
@settings(max_examples=200, deadline=None)
def test_no_policy_loses_a_label_of_what_is_still_in_the_image(
    policy: Policy, box: NDArray[np.float32], seed: int
) -> None:
    # Property: what can be seen of an object lies in its box, and an object without a box cannot be seen.
    done, pixels = done_to(moving(policy), box, seed)
    assert done.image.shape == (SIDE, SIDE, 3)
    assert ((done.boxes >= 0) & (done.boxes <= SIDE)).all()
    assert len(done.boxes) == len(done.polygons) == len(done.masks) == len(done.kept)
    if pixels.sum() > 16:
        [found], seen = done.boxes, around(pixels)
        assert (found[:2] <= seen[:2] + NEAR).all(), (found, seen)
        assert (found[2:] >= seen[2:] - NEAR).all(), (found, seen)
        assert np.mean((done.masks[0] > 0) != pixels) < 0.02


@given(policy=POLICIES, boxes=st.lists(ANYWHERE, min_size=1, max_size=5), seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_each_object_stays_itself_among_others(policy: Policy, boxes: list[NDArray[np.float32]], seed: int) -> None:
    # Property: an object goes where it goes alone, and those that are gone shift no others' labels.
    made = moving(policy)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    together = made(image, boxes=np.stack(boxes), polygons=[outline(box) for box in boxes], seed=seed)
    alone = [made(image, boxes=box[None], polygons=[outline(box)], seed=seed) for box in boxes]
    assert list(together.kept) == [index for index, one in enumerate(alone) if len(one.kept)]
    for index, box, line in zip(together.kept, together.boxes, together.polygons, strict=True):
        assert np.abs(box - alone[index].boxes[0]).max() < 0.01
        assert np.abs(line - alone[index].polygons[0]).max() < 0.01


@given(policy=POLICIES, seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_the_same_seed_gives_the_same_image_whatever_came_before(policy: Policy, seed: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    one, other = Pipeline(policy), Pipeline(policy, seed=1)
    other(image)
    assert (one(image, seed=seed).image == other(image, seed=seed).image).all()


def test_whether_one_transform_changes_an_image_says_nothing_of_the_others() -> None:
    made = Pipeline(Policy.parse("low_contrast,moves_or_vibrates,intensity=high"))
    decided: list[list[bool]] = []

    def listening(decide: Callable[..., bool]) -> Callable[..., bool]:
        def told(*given: Any, **named: Any) -> bool:
            decided[-1].append(decide(*given, **named))
            return decided[-1][-1]

        return told

    for one in made._compose.transforms[0].transforms:
        one.should_apply = listening(one.should_apply)
    image = np.full((32, 32, 3), 128, np.uint8)
    for seed in range(200):
        decided.append([])
        made(image, seed=seed)
    done = np.array(decided, float)
    assert done.shape == (200, 4)
    assert np.abs(done.mean(0) - 0.5).max() < 0.15
    assert np.abs(np.corrcoef(done.T) - np.eye(4)).max() < 0.3


def test_what_is_covered_keeps_its_label() -> None:
    made = Pipeline(Policy.parse("partially_hidden,intensity=high"))
    for one in made._compose.transforms[0].transforms:
        one.p = 1.0
    boxes = np.array([[78, 78, 82, 82], [20, 20, 150, 150]], np.float32)
    masks = np.stack([marked(box)[..., 0] // 255 for box in boxes])
    image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    covered = 0
    for seed in range(200):
        done = made(image, boxes=boxes, masks=masks, points=boxes[:, :2], seed=seed)
        covered += int((done.image[78:82, 78:82] != 128).all())
        assert list(done.kept) == [0, 1]
        assert (done.boxes == boxes).all()
        assert (done.masks == masks).all()
        assert (done.points == boxes[:, :2]).all()
    assert covered > 0


def test_an_image_without_objects_is_changed_too() -> None:
    made = pipeline("changes_shape,intensity=high")
    assert made is not None
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    done = [made(image, seed=seed) for seed in range(8)]
    assert any((one.image != image).any() for one in done)
    assert all(one.boxes.shape == (0, 4) and one.polygons == () and one.points.shape == (0, 2) for one in done)


def test_an_empty_policy_is_none() -> None:
    assert pipeline(" ") is None
    with pytest.raises(PolicyError):
        pipeline("none")
