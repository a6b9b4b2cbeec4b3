#!/usr/bin/env bash
# albumentations seeds all transforms of a list alike: a seeded list changes an image by all of them or by none.
#
# Versions: albumentations 2.0.8, Python 3.11.
# Input:    two transforms that each change an image with probability 0.5, one marking the left half and one the right
#           half; 400 images, with `Compose(..., seed=1)`, and with `set_random_seed(number)` before each image.
# Expected: a quarter of the images each with none, with one, with the other, and with both marks.
# Seen:     half of them with none, half with both, never one alone. `Compose.set_random_seed` gives each transform
#           generators of its own that are seeded with the same number, and the first number that a transform draws
#           decides whether it acts. A list without a seed is right: its transforms share one generator.
# Why care: everybody who wants reproducible trainings seeds. Their images are then either untouched or changed by
#           everything at once, which nobody has asked for; Ultralytics seeds lists for each process in this way.
# Instead:  `compose.set_random_state(np.random.default_rng(seed), random.Random(seed))`: one sequence for all.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile albumentations==2.0.8 opencv-python-headless==5.0.0.93
NO_ALBUMENTATIONS_UPDATE=1 venv/bin/python - <<'PY'
import random
from collections import Counter

import albumentations as A
import numpy as np


class Left(A.ImageOnlyTransform):
    def apply(self, img, **_):
        img = img.copy()
        img[:, :8] = 255
        return img


class Right(A.ImageOnlyTransform):
    def apply(self, img, **_):
        img = img.copy()
        img[:, 8:] = 255
        return img


def seen(compose, seeding):
    found = Counter()
    for number in range(400):
        seeding(compose, number)
        image = compose(image=np.zeros((16, 16, 3), np.uint8))["image"]
        found[bool(image[0, 0, 0]), bool(image[0, 15, 0])] += 1
    return {f"left {left}, right {right}": count for (left, right), count in sorted(found.items())}


def two(**given):
    return A.Compose([Left(p=0.5), Right(p=0.5)], **given)


def shared(compose, number):
    compose.set_random_state(np.random.default_rng(number), random.Random(number))


wrong = seen(two(seed=1), lambda *_: None), seen(two(), lambda compose, number: compose.set_random_seed(number))
right = seen(two(), shared)
print("seeded once:      ", wrong[0])
print("seeded each time: ", wrong[1])
print("one sequence:     ", right)
raise SystemExit(0 if all(len(one) == 2 for one in wrong) and len(right) == 4 else 1)
PY
