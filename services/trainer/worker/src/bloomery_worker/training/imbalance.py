"""What is done where some classes have far fewer images than others: weights, focal loss, balanced batches, repeats.

All of it is decided from how many training images each class has, before the first epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import Value

AUTO, NONE, WEIGHTS, FOCAL, SAMPLER = "auto", "none", "weights", "focal", "sampler"

MOST = 20
"""How often an image may come in an epoch, and how much more than another it may weigh."""
_EVEN, _UNEVEN = 1.5, 10.0
"""Up to so many times as many images of the largest class as of the smallest nothing is done, or weights are enough."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done.

    Attributes:
        kind: "none", "weights", "focal" or "sampler".
        why: for people.
        weights: [C], of the loss of an image of each class; 1 on average over the images.
        repeats: [C], how often each image of a class comes in an epoch, beside what `kind` does.
    """

    kind: str
    why: str
    weights: NDArray[np.float32]
    repeats: NDArray[np.int64]

    @classmethod
    def of(cls, parameters: Mapping[str, Value], counts: NDArray[np.int64], classes: Sequence[str]) -> Self:
        """What the parameters `imbalance` and `repeat` mean for classes with so many training images.

        Raises:
            ConfigError: `repeat` names no class, or too often.
        """
        wanted = str(parameters.get("imbalance", NONE))
        repeats = _repeats(str(parameters.get("repeat", "")), classes)
        kind, why = _chosen(counts * repeats, classes) if wanted == AUTO else (wanted, f"imbalance={wanted}")
        weights = balanced_weights(counts * repeats) if kind == WEIGHTS else np.ones(len(counts), np.float32)
        return cls(kind, why, weights, repeats)

    def order(self, labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """The images of an epoch by number, of which `labels` [N] are the classes."""
        images = np.repeat(np.arange(len(labels)), self.repeats[labels])
        if self.kind != SAMPLER:
            return random.permutation(images)
        return balanced_order(labels, images, random)


def balanced_weights(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """N / (C n), as scikit-learn's "balanced", so that each class weighs the same as a whole.

    None is more than `MOST` times another, and they are 1 on average over the images.
    """
    there = counts > 0
    weights = np.where(there, counts.sum() / (there.sum() * np.maximum(counts, 1)), 0.0)
    weights = np.minimum(weights, MOST * weights[there].min())
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), dtype=np.float32)


def balanced_order(
    labels: NDArray[np.int64], images: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int64]:
    """As many images as `images`, of each class equally many as far as none comes more than `MOST` times.

    Of large classes some are left out, others in the next epoch. Each class is spread evenly, so that every batch has
    its share of it.
    """
    own = labels[images]
    present = np.unique(own)
    share = -(-len(images) // len(present))
    drawn, places = [], []
    for label in present:
        there = images[own == label]
        wanted = min(share, MOST * len(there))
        rounds = [random.permutation(there) for _ in range(-(-wanted // len(there)))]
        drawn.append(np.concatenate(rounds)[:wanted])
        places.append((np.arange(wanted) + random.random(wanted)) / wanted)
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(drawn)[order]


def _chosen(counts: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, str]:
    there = [(int(count), name) for count, name in zip(counts, classes, strict=True) if count]
    (few, rare), (many, frequent) = min(there), max(there)
    ratio = many / few
    kind = NONE if ratio <= _EVEN else WEIGHTS if ratio <= _UNEVEN else SAMPLER
    return kind, f"{many} training images of {frequent} are {ratio:.1f} times the {few} of {rare}"


def _repeats(given: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """`CLASS:TIMES,...` as a number for each class."""
    repeats = np.ones(len(classes), np.int64)
    problems = []
    for part in filter(None, (one.strip() for one in given.split(","))):
        name, _, times = part.rpartition(":")
        if name not in classes:
            problems.append(f"{part!r} names no class")
        elif not times.isdecimal() or not 1 <= int(times) <= MOST:
            problems.append(f"{part!r} is not a class and a number from 1 to {MOST}")
        else:
            repeats[list(classes).index(name)] = int(times)
    if problems:
        hint = f"write CLASS:TIMES, separated by commas; the classes are {', '.join(classes)}"
        raise ConfigError(f"repeat: {'; '.join(problems)}", hint=hint)
    return repeats
