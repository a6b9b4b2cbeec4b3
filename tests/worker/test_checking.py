"""The checks that every recipe has to pass, on recipes of ours and on one that does everything wrong."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bloomery_worker.checking.subject import Subject
from bloomery_worker.checking.suite import Suite, Verdict
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import Value
from tests.worker.forks import fork_trainer

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(900)]


async def verdicts(
    package: str, folder: Path, *, only: tuple[str, ...] = (), **parameters: Value
) -> Mapping[str, Verdict]:
    suite = Suite(Subject.read(package), folder, fork_trainer, parameters)
    return {verdict.check: verdict async for verdict in suite.run(only)}


async def test_the_resnet_recipe_does_everything_right(tmp_path: Path) -> None:
    found = await verdicts("bloomery_recipe_timm.resnet", tmp_path, epochs=2)
    assert [verdict for verdict in found.values() if not verdict.passed] == []
    assert len(found) == 10
    assert found["resumes"].why == "killed after epoch 1, it ends with the same bits"
    assert found["no-validation"].why.startswith("it refuses: the dataset version has no images to choose")


async def test_another_network_with_all_that_is_random_resumes_with_the_same_bits(tmp_path: Path) -> None:
    found = await verdicts(
        "bloomery_recipe_timm.efficientnet", tmp_path, only=("declares", "resumes"),
        epochs=2, imbalance="sampler", activation="sigmoid", tune_thresholds=True, dropout=0.2, accumulate=3,
        repeat="red:3", augment="reflective_surface,intensity=high", clip=1.0,
    )  # fmt: skip
    assert [verdict for verdict in found.values() if not verdict.passed] == []


def test_everything_wrong_with_a_declaration_is_said() -> None:
    subject = Subject({"parameters": [
        {"id": "lr0", "type": "float", "default": 2.0, "minimum": 0, "maximum": 1, "description": "Learning rate."},
        {"id": "epochs", "type": "int", "default": "many", "description": "How often."},
        {"id": "head", "type": "string", "default": "a", "choices": ["b"], "description": "Which head it ends with."},
        {"id": "depth", "type": "int", "default": 3, "description": "How many layers the network has."},
    ]})  # fmt: skip
    assert list(subject.problems()) == [
        "lr0 does not say what it does",
        "lr0 has the default 2.0, which is beyond its limits",
        "epochs does not say what it does",
        "epochs is of type int, and its default 'many' is not",
        "epochs is a number without limits: what makes no sense would be found out in the worker",
        "head has the default 'a', which is none of its choices",
        "depth is a number without limits: what makes no sense would be found out in the worker",
    ]


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="the package no_such_recipe is not installed here"):
        Subject.read("no_such_recipe")
