"""The checks that every recipe has to pass, on recipes of ours and on one that does everything wrong."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bloomery_worker.checking import running
from bloomery_worker.checking.__main__ import main
from bloomery_worker.checking.running import Outcome
from bloomery_worker.checking.subject import Subject
from bloomery_worker.checking.suite import Suite, Verdict
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import JobSpec, ResultNote, Value
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


async def test_a_recipe_that_ignores_a_stop_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subject: Subject
) -> None:
    async def deaf(job: JobSpec, *_: object, **__: object) -> Outcome:
        assert job.parameters["epochs"] == 1000
        return Outcome(tmp_path, last=ResultNote(files=(), metrics={}, details={}, versions={}))

    monkeypatch.setattr(running, "run", deaf)
    (verdict,) = [one async for one in Suite(subject, tmp_path, fork_trainer, {}).run(["stops"])]
    assert verdict == Verdict("stops", False, "asked to stop at its first sign, it trained all of its 1000 epochs")


async def test_an_exception_fails_its_check_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, subject: Subject
) -> None:
    async def broken(*_: object, **__: object) -> Outcome:
        raise OSError("no room")

    monkeypatch.setattr(running, "run", broken)
    found = [one async for one in Suite(subject, tmp_path, fork_trainer, {}).run(["trains", "stops", "declares"])]
    assert [(one.check, one.passed, one.why) for one in found] == [
        ("declares", True, "1 parameters"), ("trains", False, "OSError: no room"), ("stops", False, "OSError: no room"),
    ]  # fmt: skip


def test_parameters_that_a_recipe_does_not_have_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bloomery_recipe_timm.resnet", "--set", "epoch=2"])
    assert "no parameter epoch; the parameters are " in capsys.readouterr().err


@pytest.fixture
def subject() -> Subject:
    return Subject({
        "name": "deaf", "version": 1, "license": "MIT", "module": "m", "task": "classify", "kinds": ["TRAIN"],
        "parameters": [{
            "id": "epochs", "type": "int", "default": 3, "minimum": 1, "maximum": 5000,
            "description": "How often it trains.",
        }],
    })  # fmt: skip


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="the package no_such_recipe is not installed here"):
        Subject.read("no_such_recipe")
