"""Which epoch is the best: by the measurement that `best_by` names."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_worker.best import BestBy, best_by
from bloomery_worker.failures import ConfigError

CLASSES = ("rbc", "platelets")
MEASURED = {"val/recall/platelets": 0.25, "val/box_loss": 1.5, "val/map50": 0.5, "train/box_loss": 2.0}


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("recall/platelets", 0.25),
        ("val/recall/platelets", 0.25),
        ("map50", 0.5),
        ("box_loss", -1.5),
        ("val/box_loss", -1.5),
        ("train/box_loss", -2.0),
    ],
)
def test_a_measurement_is_named_with_or_without_its_split(name: str, score: float) -> None:
    chosen = best_by({"best_by": name}, CLASSES)
    assert chosen is not None
    assert chosen.score(MEASURED) == score


def test_nothing_named_is_the_default_of_the_recipe() -> None:
    assert best_by({}, CLASSES) is None
    assert best_by({"best_by": ""}, CLASSES, "map50") == BestBy("map50")


def test_a_class_that_there_is_not_is_refused_before_the_first_epoch() -> None:
    with pytest.raises(ConfigError, match="plates is no class of the dataset version") as refused:
        best_by({"best_by": "recall/plates"}, CLASSES)
    assert refused.value.hint == "name one of rbc, platelets"


def test_what_is_not_measured_is_refused_with_what_is() -> None:
    with pytest.raises(ConfigError, match="nothing is measured under the name map60") as refused:
        BestBy("map60").score(MEASURED)
    assert "recall/platelets" in refused.value.hint


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1), st.booleans())
def test_the_best_epoch_is_the_largest_number_or_the_smallest_loss(values: list[float], loss: bool) -> None:
    # Property: the epoch with the best score has the largest finite value, of losses the smallest; NaN is never chosen.
    chosen = BestBy("box_loss" if loss else "map50")
    scores = [chosen.score({f"val/{chosen.name}": value}) for value in values]
    assert not any(map(math.isnan, scores))
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        assert values[scores.index(max(scores))] == (min if loss else max)(finite)
