"""Transforms that change an image independently of each other."""

import random

import albumentations as A  # noqa: N812 - its own documentation calls it so
import numpy as np


class Independent(A.Sequential):  # type: ignore[misc]
    """Transforms one after the other, each of which draws its own random numbers.

    Given a seed, the library seeds all transforms of a list alike: the first numbers that they draw, by which each
    decides whether it changes the image, are the same, so that all of them do or none does.
    """

    def set_random_seed(self, seed: int | None) -> None:
        """Begins one sequence of random numbers, from which all draw in turn."""
        self.seed = seed
        self.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311 - nothing is secret
