"""What is measured of classifiers, beside scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn  # type: ignore[import-untyped]

from bloomery_vision.classification import ClassificationMetrics, classification_metrics, roc_curve


def answers(seed: int, *, images: int, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """True classes and probabilities; every third seed has many equal ones, and some classes may have no image."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, max(1, classes - seed % 2), images)
    scores = generator.random((images, classes)) + 0.6 * np.eye(classes)[truth]
    if seed % 3 == 0:
        scores = np.round(scores, 1)
    return truth, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def check(measured: ClassificationMetrics, truth: NDArray[np.int64], scores: NDArray[np.float32]) -> None:
    """Everything that scikit-learn measures too is the same."""
    predicted = scores.argmax(axis=1)
    classes = range(scores.shape[1])
    assert measured.accuracy == pytest.approx(sklearn.accuracy_score(truth, predicted), abs=1e-9)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(
        truth, predicted, average="macro", zero_division=0
    )
    assert (measured.precision, measured.recall, measured.f1) == pytest.approx((precision, recall, f1), abs=1e-9)
    with warnings.catch_warnings():
        # It says that there are answers of classes that have no image.
        warnings.simplefilter("ignore")
        assert measured.balanced_accuracy == pytest.approx(sklearn.balanced_accuracy_score(truth, predicted), abs=1e-9)
    matrix = sklearn.confusion_matrix(truth, predicted, labels=classes)
    assert measured.confusion.counts.tolist() == matrix.tolist()
    each = sklearn.precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    for one in measured.per_class:
        own = [column[one.index] for column in each]
        assert [one.precision, one.recall, one.f1, one.instances] == pytest.approx(own, abs=1e-9)
        if one.roc:
            area = sklearn.roc_auc_score(truth == one.index, scores[:, one.index])
            assert one.roc.area == pytest.approx(area, abs=1e-9)
    areas = [one.roc.area for one in measured.per_class if one.roc]
    assert measured.roc_auc == (pytest.approx(np.mean(areas)) if areas else None)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 7))
@settings(max_examples=60, deadline=None)
def test_the_figures_are_those_of_scikit_learn(seed: int, images: int, classes: int) -> None:
    truth, scores = answers(seed, images=images, classes=classes)
    check(classification_metrics(truth, scores, num_classes=classes), truth, scores)


def test_the_curve_is_that_of_scikit_learn() -> None:
    truth, scores = answers(6, images=80, classes=2)
    found = roc_curve(scores[:, 1], truth == 1)
    false, true, thresholds = sklearn.roc_curve(truth == 1, scores[:, 1], drop_intermediate=False)
    assert found.false_positives == pytest.approx(false)
    assert found.true_positives == pytest.approx(true)
    assert found.scores == pytest.approx(thresholds)


def test_the_calibration_error_is_the_mean_distance_over_the_bins() -> None:
    truth, scores = answers(1, images=500, classes=4)
    best, right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == truth
    expected = 0.0
    for lower in np.linspace(0, 1, 16)[:-1]:
        inside = (best > lower) & (best <= lower + 1 / 15)
        expected += abs(right[inside].sum() - best[inside].sum()) / len(best)
    assert classification_metrics(truth, scores, num_classes=4).calibration_error == pytest.approx(expected)


def test_a_class_that_the_model_does_not_know_is_missed_and_has_no_curve() -> None:
    truth = np.array([0, 1, 2])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.float32)
    measured = classification_metrics(truth, scores, num_classes=3)
    assert [measured.accuracy, measured.per_class[2].recall] == pytest.approx([2 / 3, 0])
    assert [one.roc is not None for one in measured.per_class] == [True, True, False]
    assert measured.confusion.counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_images_of_one_class_alone_have_no_curve() -> None:
    measured = classification_metrics(np.zeros(3, np.int64), np.full((3, 2), 0.5, np.float32), num_classes=2)
    assert measured.roc_auc is None
    assert measured.accuracy == 1


def test_without_images_shares_are_nought_and_what_is_not_defined_is_none() -> None:
    measured = classification_metrics(np.zeros(0, np.int64), np.zeros((0, 2), np.float32), num_classes=2)
    assert (measured.accuracy, measured.f1, measured.roc_auc, measured.calibration_error) == (0, 0, None, None)
