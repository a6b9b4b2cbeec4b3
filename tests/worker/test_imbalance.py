"""What is done about rare classes: by which rule, with which numbers."""

from collections import Counter

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight  # type: ignore[import-untyped]
from torch.nn.functional import cross_entropy, one_hot

from bloomery_worker.context import StopRequestedError
from bloomery_worker.failures import ConfigError
from bloomery_worker.training import thresholds
from bloomery_worker.training.imbalance import MOST, Treatment, balanced_weights
from bloomery_worker.training.losses import ALPHA, sigmoid_loss, softmax_loss

pytestmark = pytest.mark.timeout(300)
CLASSES = ("RBC", "WBC", "Platelets")
PLAIN = torch.ones(3)


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize(
    ("counts", "kind"),
    [((30, 20, 20), "none"), ((100, 20, 20), "weights"), ((100, 20, 9), "sampler"), ((10, 0, 10), "none")],
)
def test_auto_decides_by_the_largest_class_over_the_smallest(counts: tuple[int, ...], kind: str) -> None:
    treatment = Treatment.of({"imbalance": "auto"}, np.array(counts), CLASSES)
    assert treatment.kind == kind
    assert "training images of" in treatment.why


def test_repeats_count_before_auto_decides() -> None:
    treatment = Treatment.of({"imbalance": "auto", "repeat": "WBC:10, Platelets:10"}, np.array([100, 10, 10]), CLASSES)
    assert treatment.kind == "none"
    order = treatment.order(labels_of(100, 10, 10), np.random.default_rng(0))
    assert sorted(Counter(order.tolist()).values()) == [1] * 100 + [10] * 20


def test_everything_wrong_with_repeats_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        Treatment.of({"repeat": "WBC:21,cells:2,RBC:many"}, np.array([1, 1, 1]), CLASSES)
    assert str(refused.value) == (
        "repeat: 'WBC:21' is not a class and a number from 1 to 20; 'cells:2' names no class;"
        " 'RBC:many' is not a class and a number from 1 to 20"
    )
    assert refused.value.hint == "write CLASS:TIMES, separated by commas; the classes are RBC, WBC, Platelets"


def test_weights_are_those_of_scikit_learn() -> None:
    counts = np.array([90, 30, 10])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels_of(*counts))
    assert balanced_weights(counts) == pytest.approx(expected)


# Property: weights are 1 on average over the images, and none is more than MOST times another.
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8).filter(any))
def test_weights_never_run_away(counts: list[int]) -> None:
    numbers = np.array(counts)
    weights = balanced_weights(numbers)
    there = weights[numbers > 0]
    assert (weights * numbers).sum() / numbers.sum() == pytest.approx(1, rel=1e-4)
    assert there.max() <= there.min() * MOST * 1.001


# Property: a balanced epoch has each class equally often as far as no image comes more than MOST times, and no more
# images than there are.
@given(st.lists(st.integers(1, 300), min_size=2, max_size=5), st.integers(0, 9))
def test_balanced_epochs(counts: list[int], seed: int) -> None:
    labels = labels_of(*counts)
    names = [f"c{index}" for index in range(len(counts))]
    treatment = Treatment.of({"imbalance": "sampler"}, np.array(counts), names)
    order = treatment.order(labels, np.random.default_rng(seed))
    share = -(-len(labels) // len(counts))
    drawn = Counter(labels[order].tolist())
    assert [drawn[label] for label in range(len(counts))] == [min(share, MOST * count) for count in counts]
    times = Counter(order.tolist())
    for label in range(len(counts)):
        own = [times[index] for index in np.flatnonzero(labels == label)]
        assert max(own) - min(own) <= 1


def test_every_batch_of_a_balanced_epoch_has_its_share() -> None:
    labels = labels_of(200, 40, 20)
    treatment = Treatment.of({"imbalance": "sampler"}, np.array([200, 40, 20]), CLASSES)
    order = treatment.order(labels, np.random.default_rng(3))
    for start in range(0, 240, 30):
        assert min(Counter(labels[order[start : start + 30]].tolist()).values()) >= 8


def test_focal_loss_without_gamma_is_cross_entropy_and_less_of_it_with() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    each = cross_entropy(logits, truth, reduction="none")
    assert softmax_loss(logits, truth, PLAIN) == pytest.approx(each.mean().item())
    expected = ((1 - torch.exp(-each)) ** 2 * each).mean()
    assert softmax_loss(logits, truth, PLAIN, gamma=2.0) == pytest.approx(expected.item())


def test_weights_do_not_change_what_a_mean_over_images_is() -> None:
    logits, truth = torch.zeros(4, 3), torch.tensor([0, 0, 0, 1])
    weights = torch.tensor([0.5, 2.5, 1.0])
    assert softmax_loss(logits, truth, weights) == pytest.approx(np.log(3) * (3 * 0.5 + 2.5) / 4)


def test_the_focal_loss_of_sigmoids_is_that_of_torchvision_by_the_positives() -> None:
    torch.manual_seed(0)
    logits, truth = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = torchvision.ops.sigmoid_focal_loss(
        logits, one_hot(truth, 3).float(), alpha=ALPHA, gamma=2.0, reduction="sum"
    )
    assert sigmoid_loss(logits, truth, PLAIN, gamma=2.0) == pytest.approx(expected.item() / 6, rel=1e-5)


def go_on() -> None:
    """Nobody wants the work to end."""


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_borders_are_those_that_trying_every_step_on_all_scores_finds(seed: int, classes: int) -> None:
    """With scores of quarters, of which many are equal."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, 40)
    scores = random.integers(-8, 9, (40, classes)) / 4 + np.eye(classes)[truth]
    bias = np.zeros(classes)
    for index in [*range(1, classes)] * thresholds._ROUNDS:
        values = []
        for step in thresholds._STEPS:
            tried = bias.copy()
            tried[index] = step
            right = (scores + tried).argmax(axis=1) == truth
            values.append(float(np.mean([right[truth == label].mean() for label in np.unique(truth)])))
        bias[index] = thresholds._middle(values)
    assert thresholds.balanced(scores, truth, go_on).tolist() == bias.tolist()


def test_tuning_borders_can_be_stopped_at_every_class() -> None:
    asked: list[int] = []

    def stop() -> None:
        asked.append(1)
        if len(asked) == 4:
            raise StopRequestedError(7)

    with pytest.raises(StopRequestedError):
        thresholds.balanced(np.eye(3), np.arange(3), stop)


def test_borders_move_towards_frequent_classes_and_stay_where_they_are_right() -> None:
    random = np.random.default_rng(0)
    truth = np.concatenate([np.zeros(200, np.int64), np.ones(20, np.int64)])
    scores = np.stack([np.full(220, 2.0), random.normal(0, 1, 220) + 2 * truth], axis=1)
    bias = thresholds.balanced(scores, truth, go_on)
    assert bias[0] == 0
    assert 0.25 <= bias[1] <= 1.75
    right = (scores + bias).argmax(axis=1) == truth
    before = scores.argmax(axis=1) == truth
    assert right[truth == 1].mean() > before[truth == 1].mean()
    assert thresholds.balanced(np.eye(2) * 3, np.array([0, 1]), go_on).tolist() == [0, 0]


def test_borders_of_one_class_against_the_others_lie_at_a_half() -> None:
    scores = np.array([[-1.0, 3.0], [-1.2, 2.0], [-3.0, 1.0], [-3.5, -2.0]])
    bias = thresholds.one_versus_rest(scores, np.array([0, 0, 1, 1]))
    assert ((scores + bias)[:, 0] >= 0).tolist() == [True, True, False, False]
