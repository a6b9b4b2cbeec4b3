"""What is said of a job from what its dataset version counts."""

import pytest

from bloomery.common.v1 import Problem
from bloomery_trainer.advising import advice
from bloomery_trainer.model import Artifact, Task
from bloomery_trainer.neighbours import DatasetFacts

TOLD = Problem(severity=Problem.SEVERITY_WARNING, code="TINY_CLASS", message="few", hint="label more")


def facts(*sides: float) -> DatasetFacts:
    manifest = Artifact("manifest", "sha256:0", 1, "application/json", "index.json", "k")
    return DatasetFacts("projects/p/datasets/d/versions/1", "d", Task.DETECT, manifest, ("a",), "", (TOLD,), sides)


def test_what_the_dataset_service_says_is_passed_on() -> None:
    assert advice(facts(), {"imgsz": 64}) == [TOLD]
    assert advice(None, {"imgsz": 64}) == []


@pytest.mark.parametrize(("size", "percent"), [(80, 90), (160, 40), (320, 20), (1600, 0)])
def test_objects_that_an_input_makes_too_small_are_told(size: int, percent: int) -> None:
    found = advice(facts(*(tenth / 100 for tenth in range(11))), {"imgsz": size})[1:]
    assert [problem.code for problem in found] == (["SMALL_OBJECTS"] if percent else [])
    assert all(f" {percent} % of the objects" in problem.message for problem in found)
    assert all("imgsz=800" in problem.hint for problem in found)


def test_a_job_without_an_input_size_is_not_judged_by_it() -> None:
    assert advice(facts(*(0.001,) * 11), {}) == [TOLD]
