"""How many predictions may be in the works, and what is counted of them."""

import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from bloomery.inference.v1 import PredictRequest
from bloomery_inference import metrics
from bloomery_inference.metrics import ModelsInUse
from bloomery_inference.pacing import Pace
from bloomery_kit.metrics import REGISTRY
from tests import databases
from tests.inference.asking import V1, recorded
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import trained, with_facts, with_variant
from tests.inference.test_predict import white

DATABASES = databases.SQLITE

ALONE = 0.1


def overload(pace: Pace, turns: int, *, seconds: float = ALONE, refused: int = 0) -> list[int]:
    """As many in the works as may be, on a machine that does one after the other: how many there were.

    For each that is answered some more are `refused`.
    """
    together = []
    for _ in range(turns):
        for _ in range(refused):
            pace.refused()
        together.append(pace.limit)
        pace.took("m", pace.limit * seconds, pace.limit)
    return together


def test_in_a_crowd_as_many_are_let_in_as_run_at_once() -> None:
    pace = Pace(2, 66)
    pace.took("m", ALONE, 1)
    found = overload(pace, 2000, refused=4)
    assert found[0] == 66
    assert set(found[100:]) == {2}


def test_as_many_again_may_wait_where_few_are_refused() -> None:
    pace = Pace(2, 66)
    pace.took("m", ALONE, 1)
    for number in range(2000):
        if number % 4 == 0:
            pace.refused()
        pace.took("m", 4 * ALONE, 4)
    assert pace.limit == 4


def test_what_a_crowd_has_taken_away_comes_back_when_it_has_gone() -> None:
    pace = Pace(2, 66)
    pace.took("m", ALONE, 1)
    overload(pace, 200, refused=4)
    before = pace.limit
    overload(pace, 40)
    assert (before, pace.limit) == (2, 4)


def test_nowhere_wait_more_than_may() -> None:
    pace = Pace(4, 5)
    pace.took("m", ALONE, 1)
    assert min(overload(pace, 500)) == 5


def test_what_does_many_at_once_without_getting_slower_may_do_all() -> None:
    pace = Pace(1, 16)
    pace.took("m", ALONE, 1)
    overload(pace, 100)
    for _ in range(500):
        pace.took("m", ALONE * 1.2, pace.limit)
    assert pace.limit == 16


def test_a_load_does_not_change_what_one_takes_alone_and_a_slower_machine_does() -> None:
    pace = Pace(1, 8)
    pace.took("m", ALONE, 1)
    overload(pace, 1000, refused=4)
    assert pace.limit == 1
    for _ in range(60):
        pace.took("m", 3 * ALONE, 1)
    for _ in range(200):
        pace.took("m", 4 * ALONE, max(2, pace.limit))
    assert pace.limit == 8


def test_a_model_that_was_never_alone_says_nothing() -> None:
    pace = Pace(1, 4)
    overload(pace, 50)
    assert pace.limit == 4


class TestCounted:
    async def test_predictions_are_counted_by_model_variant_and_stage(self, service: Service, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.2, 0.8]), side=32)
        service.trainer.feed.append(await with_variant(with_facts(trained(1)), service.objects, directory))
        await recorded(service)
        labels = {"model": "pets/pets@1", "variant": "onnx-fp32"}

        def value(name: str, **more: str) -> float:
            return REGISTRY.get_sample_value(name, {**labels, **more}) or 0.0

        before = {code: value("bloomery_predictions_total", code=code) for code in ("OK", "INVALID_ARGUMENT")}
        stages = value("bloomery_prediction_stage_seconds_count", stage="inference")
        await service.predictions.Predict(PredictRequest(model_version=V1, image=white(8, 8)))
        with pytest.raises(Exception, match="none of"):
            await service.predictions.Predict(PredictRequest(model_version=V1, image=b"no image"))
        assert value("bloomery_predictions_total", code="OK") == before["OK"] + 1
        assert value("bloomery_predictions_total", code="INVALID_ARGUMENT") == before["INVALID_ARGUMENT"] + 1
        assert value("bloomery_prediction_stage_seconds_count", stage="inference") == stages + 1
        assert value("bloomery_prediction_stage_seconds_sum", stage="total") > 0
        assert REGISTRY.get_sample_value("bloomery_predictions_running") == 0


def test_models_that_are_not_used_any_more_are_forgotten() -> None:
    in_use = ModelsInUse(most=2)
    for number in range(20):
        in_use._use((f"p/gone-{number}@1", "onnx-fp32"), "OK")
        metrics.PREDICTIONS.labels(f"p/gone-{number}@1", "onnx-fp32", "OK").inc()
        for stage in metrics.STAGES:
            metrics.STAGE_SECONDS.labels(f"p/gone-{number}@1", "onnx-fp32", stage).observe(1)
    found = set(re.findall(r'model="(p/gone-[^"]*)"', generate_latest(REGISTRY).decode()))
    assert found == {"p/gone-18@1", "p/gone-19@1"}
