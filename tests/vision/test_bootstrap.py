"""Whether a model is better: on what two detectors really found on the images of blood cells.

`records/` has the records of one training of YOLOv8n on the 205 training images of the full data set: after three
epochs and after seven, at 256 pixels, on the 159 images of val and test. Detections of scores below 0.05 are left out.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from bloomery_vision.bootstrap import paired
from bloomery_vision.figures import figures_of
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.records import class_records, from_parquet

FEW = 150
RECORDS = Path(__file__).parent / "records"


@pytest.fixture(scope="module")
def early() -> pa.Table:
    return from_parquet((RECORDS / "epoch-3.parquet").read_bytes())


@pytest.fixture(scope="module")
def late() -> pa.Table:
    return from_parquet((RECORDS / "epoch-7.parquet").read_bytes())


def sampled(records: pa.Table, places: list[int]) -> pa.Table:
    """Some images, perhaps several times, each as an image of its own."""
    column = records.schema.get_field_index("asset")
    names = pa.array([f"assets/{number}" for number in range(len(places))])
    return records.take(places).set_column(column, records.schema.field(column), names)


def grouped(records: pa.Table, size: int) -> pa.Table:
    column = records.schema.get_field_index("group")
    names = pa.array([f"g{number // size}" for number in range(len(records))])
    return records.set_column(column, records.schema.field(column), names)


def true_differences(first: pa.Table, second: pa.Table) -> dict[str, float]:
    every = np.ones((1, len(first)))
    before, after = figures_of(first)(every), figures_of(second)(every)
    return {name: float(after[name][0] - before[name][0]) for name in before}


def test_a_model_that_is_clearly_better_is_told_whichever_comes_first(early: pa.Table, late: pa.Table) -> None:
    for first, second, better in ((early, late, 2), (late, early, 1)):
        found = paired(first, second)
        assert (found.images, found.clusters) == (159, 159)
        assert [one.metric for one in found.differences] == ["map50", "map50_95"]
        assert [one.better for one in found.differences] == [better, better]
        for one in found.differences:
            assert one.lower < one.second - one.first < one.upper


def test_the_same_model_is_not_better_than_itself(late: pa.Table) -> None:
    for one in paired(late, late, resamples=FEW).differences:
        assert (one.lower, one.upper, one.better, one.needed) == (0, 0, 0, 0)


def test_the_order_of_the_images_does_not_matter(early: pa.Table, late: pa.Table) -> None:
    turned = late.take(list(reversed(range(len(late)))))
    [first, _], [second, _] = (
        paired(early, late, resamples=FEW).differences,
        paired(early, turned, resamples=FEW).differences,
    )
    assert (first.lower, first.upper) == pytest.approx((second.lower, second.upper), abs=1e-9)


def test_few_images_tell_nothing_and_how_many_would_is_said(early: pa.Table, late: pa.Table) -> None:
    few = paired(early.slice(0, 5), late.slice(0, 5)).differences[0]
    assert (few.lower, few.upper, few.better) == (-1, 1, 0)
    some = paired(early.slice(0, 8), late.slice(0, 8)).differences[0]
    assert some.upper - some.lower < 2
    # Fewer than those that were enough, which told it with room to spare.
    needed = paired(early, late, resamples=FEW).differences[0].needed
    assert 8 < needed < 159


def test_images_of_a_group_count_as_one(early: pa.Table, late: pa.Table) -> None:
    # Each image three times tells no more than once, if that is known.
    places = [index for index in range(50) for _ in range(3)]
    first, second = sampled(early, places), sampled(late, places)
    once = paired(early.slice(0, 50), late.slice(0, 50), resamples=FEW).differences[1]
    blind = paired(first, second, resamples=FEW).differences[1]
    found = paired(grouped(first, 3), grouped(second, 3), resamples=FEW)
    assert (found.images, found.clusters) == (150, 50)
    told = found.differences[1]
    assert told.upper - told.lower == pytest.approx(once.upper - once.lower, rel=0.2)
    assert blind.upper - blind.lower < 0.75 * (told.upper - told.lower)


def test_evaluations_of_other_images_are_not_compared(early: pa.Table, late: pa.Table) -> None:
    with pytest.raises(ValueError, match="not of the same images"):
        paired(early.slice(0, 10), late.slice(1, 10))
    with pytest.raises(ValueError, match="not of the same images"):
        paired(early.slice(0, 0), late.slice(0, 0))


def test_crops_of_one_image_are_told_apart_and_drawn_together() -> None:
    rows = [_crop(image, number) for image in range(10) for number in range(10)]
    truth = np.zeros(len(rows), np.int64)
    first_only = np.array([0 if row.file_name.endswith("-0.png") else 1 for row in rows])
    right, wrong = (
        class_records(rows, truth, np.stack([found, 1 - found], axis=1), classes=("a", "b"))
        for found in (truth, first_only)
    )
    found = paired(right, wrong.take(list(reversed(range(len(rows))))), resamples=FEW)
    assert (found.images, found.clusters) == (100, 10)
    top = found.differences[0]
    assert (top.metric, top.better) == ("accuracy", 1)
    assert (top.first, top.second) == pytest.approx((1, 0.1))


def test_an_image_that_is_there_twice_is_refused(early: pa.Table) -> None:
    twice = early.take([0, 1, 1])
    for first, second in ((twice, twice), (early.take([0, 1, 2]), twice)):
        with pytest.raises(ValueError, match="more than once"):
            paired(first, second)


def _crop(image: int, number: int) -> ManifestRow:
    return ManifestRow(
        asset=f"assets/{image}",
        digest=f"sha256:{image}{number}",
        logical_key="k",
        size_bytes=1,
        media_type="image/png",
        width=9,
        height=9,
        split="test",
        group=f"sha256:{image}",
        file_name=f"{image}-{number}.png",
        shapes=(),
    )


def test_intervals_hold_the_true_difference_as_often_as_they_say(early: pa.Table, late: pa.Table) -> None:
    """The 159 images stand for all that there are; samples of them are what one would have measured."""
    generator = np.random.default_rng(7)
    truth, rounds, size = true_differences(early, late), 80, 40
    held = dict.fromkeys(truth, 0)
    for _ in range(rounds):
        places = generator.integers(0, len(early), size).tolist()
        for one in paired(sampled(early, places), sampled(late, places), resamples=FEW).differences:
            held[one.metric] += one.lower <= truth[one.metric] <= one.upper
    # Three standard errors of a share of 0.95.
    error = 3 * np.sqrt(0.95 * 0.05 / rounds)
    for metric, count in held.items():
        assert 0.95 - error <= count / rounds <= 1, metric
    # Of both figures together; all of 160 would mean that intervals are too wide to be of use.
    assert sum(held.values()) < 2 * rounds
