"""Whether one model is better than another on the same images: a paired bootstrap over the images.

Each resample draws as many images as there are, with replacement, and computes every figure of both models on it: what
is hard for both moves both, so that the differences vary less than the figures (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993, chapters 8 and 13). Images of one group are drawn together, as they say less than as many others
would. The interval of a difference has the percentiles of the resamples, moved outwards as percentiles are too narrow
where there are few images (Hesterberg, What Teachers Should Know About the Bootstrap, 2015, section 3.2).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bloomery_vision.figures import Figures, Weights, figures_of
from bloomery_vision.records import about

RESAMPLES = 1000
LEVEL = 0.95
POWER = 0.8
"""How likely the images that are said to be needed show a difference as large as the one that was seen."""
_SEED = 0
_FEWEST = 6
"""Images that all speak for one of two equal models have a chance of 2 / 2^n: more than 1 in 20 of fewer."""
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two models on the same images.

    Attributes:
        metric: its name without the split, such as "map50".
        first: of the first model, 0 to 1.
        second: of the second one.
        lower: of the interval of second minus first.
        upper: the same.
        needed: how many images would show a difference such as this one with a probability of `POWER`, if it is real;
            0 where there is none at all.
    """

    metric: str
    first: float
    second: float
    lower: float
    upper: float
    needed: int

    @property
    def better(self) -> int:
        """1 or 2 for the better model; 0 where the interval holds 0, so that they cannot be told apart."""
        return 1 if self.upper < 0 else 2 if self.lower > 0 else 0


@dataclass(frozen=True, slots=True)
class Paired:
    """Two models on the same images.

    Attributes:
        images: how many.
        clusters: how many of them are drawn independently: a group counts once.
        differences: each figure, that which counts most first.
    """

    images: int
    clusters: int
    differences: tuple[Difference, ...]


def paired(first: pa.Table, second: pa.Table, *, resamples: int = RESAMPLES) -> Paired:
    """Compares two evaluations by their records, see `records`; the same ones give the same answer.

    Images are known by their asset and file name. Raises ValueError where the evaluations are not of the same task and
    images, of none, or where one has an image more than once.
    """
    second = _aligned(first, second)
    clusters = _clusters(first)
    models = figures_of(first), figures_of(second)
    before, after = (model(np.ones((1, first.num_rows))) for model in models)
    drawn = _resampled(models, clusters, resamples)
    count = int(clusters.max()) + 1
    return Paired(
        images=first.num_rows,
        clusters=count,
        differences=tuple(
            _difference(name, float(before[name][0]), float(after[name][0]), drawn[name], first.num_rows, count)
            for name in before
        ),
    )


def _aligned(first: pa.Table, second: pa.Table) -> pa.Table:
    """The second table with its rows in the order of the first one's."""
    if about(first)[0] != about(second)[0] or first.column_names != second.column_names:
        raise ValueError("the evaluations are of models of different tasks")
    names, others = _names(first), _names(second)
    places = pc.index_in(names, value_set=others)
    if not first.num_rows or places.null_count or first.num_rows != second.num_rows:
        raise ValueError("the evaluations are not of the same images")
    return second.take(places)


def _names(records: pa.Table) -> pa.Array:
    """What each image is known by: crops of one image share its asset, and file names come once in each split."""
    names = pc.binary_join_element_wise(records.column("asset"), records.column("file_name"), "\n").combine_chunks()
    if len(names.unique()) < len(names):
        raise ValueError("an evaluation has an image more than once; evaluate again")
    return names


def _clusters(records: pa.Table) -> NDArray[np.int64]:
    """[N], the number of the cluster of each image: its group, or itself."""
    groups = records.column("group").to_pylist()
    names = [f"group {group}" if group else f"image {index}" for index, group in enumerate(groups)]
    return np.unique(names, return_inverse=True)[1]


def _resampled(
    models: tuple[Figures, Figures], clusters: NDArray[np.int64], resamples: int
) -> dict[str, NDArray[np.float64]]:
    """The differences of each figure on each resample."""
    parts: dict[str, list[NDArray[np.float64]]] = {}
    for weights in _draws(clusters, resamples):
        first, second = (model(weights) for model in models)
        for name, values in first.items():
            parts.setdefault(name, []).append(second[name] - values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _draws(clusters: NDArray[np.int64], resamples: int) -> Iterator[Weights]:
    """The weights of the images in resamples, some resamples at once."""
    generator = np.random.default_rng(_SEED)
    count = int(clusters.max()) + 1
    step = max(1, _AT_ONCE // len(clusters))
    for start in range(0, resamples, step):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=min(step, resamples - start))
        yield drawn[:, clusters].astype(np.float64)


def _difference(
    metric: str, first: float, second: float, drawn: NDArray[np.float64], images: int, clusters: int
) -> Difference:
    lower, upper = _interval(drawn, clusters)
    needed = _needed(second - first, float(drawn.std()), images)
    if lower <= 0 <= upper:
        needed = max(needed, images + 1) if needed else 0
    return Difference(metric, first, second, lower, upper, needed)


def _interval(drawn: NDArray[np.float64], clusters: int) -> tuple[float, float]:
    """Everything is possible where so few images all speaking for one model would be chance too often."""
    if clusters < _FEWEST:
        return -1.0, 1.0
    tail = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * _student(clusters - 1))
    lower, upper = np.quantile(drawn, [tail, 1 - tail])
    return float(lower), float(upper)


def _student(freedom: int) -> float:
    """The quantile of Student's t for the interval, expanded at the normal one (Abramowitz and Stegun, 26.7.5)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _needed(difference: float, error: float, images: int) -> int:
    """N' = N ((z + z') s / d)^2: the standard error s of the difference d falls with the square root of the images.

    z is the quantile of the interval, z' that of the power.
    """
    if not difference:
        return 0
    quantiles = NormalDist().inv_cdf((1 + LEVEL) / 2) + NormalDist().inv_cdf(POWER)
    return math.ceil(images * (quantiles * error / difference) ** 2)
