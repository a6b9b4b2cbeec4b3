"""A recipe of somebody else's: the one of the documentation, on a real worker that has never heard of it."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from bloomery.training.v1 import JOB_KIND_TRAIN, Job, Recipe
from bloomery.vision.v1 import TASK_TYPE_DETECT
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import ROOT, SCRIPTED, running, served, trainer_for
from tests.worker.sample_data import Version

pytestmark = pytest.mark.timeout(100)
PAGE = (ROOT / "docs/recipes.md").read_text("utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.fixture
def trainer(cells: Version) -> FakeTrainer:
    """The service with a job for the recipe of the page, as its catalogue would hand it out."""
    declared = yaml.safe_load(block("yaml"))
    recipe = Recipe(name=f"recipes/{declared['name']}", module=declared["module"], task=TASK_TYPE_DETECT)
    effective = ParseDict({one["id"]: one["default"] for one in declared["parameters"]}, Struct())
    job = Job(name="projects/cells/jobs/j0", uid="j0", kind=JOB_KIND_TRAIN, effective_parameters=effective)
    return trainer_for(job, recipe, cells)


def install(folder: Path) -> None:
    """Put the package of the page where an installer would."""
    package, about = folder / "class_prior", folder / "class_prior-1.dist-info"
    for place in (package, about):
        place.mkdir()
    (package / "__init__.py").write_text(block("python"), "utf-8")
    (package / "recipe.yaml").write_text(block("yaml"), "utf-8")
    project = tomllib.loads(block("toml"))["project"]
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n")
    points = [f"{name} = {value}" for name, value in project["entry-points"]["bloomery.recipes"].items()]
    (about / "entry_points.txt").write_text("\n".join(["[bloomery.recipes]", *points]))


def test_an_installed_recipe_is_found(tmp_path: Path) -> None:
    install(tmp_path)
    command = [sys.executable, "-P", "-m", "bloomery_worker.catalogue"]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["class-prior (class_prior/recipe.yaml)"]
    declared, forms = found.rsplit("\nforms: ", 1)
    assert declared == block("yaml")
    assert "onnx-fp32" in forms


async def test_an_installed_recipe_runs(trainer: FakeTrainer, cells: Version, tmp_path: Path) -> None:
    install(tmp_path)
    path = {"PYTHONPATH": f"{tmp_path}:{SCRIPTED}"}
    async with served(trainer, cells), running(trainer, tmp_path, settings=path) as worker:
        assert await worker.exit_code() == 0, worker.output
    assert trainer.finished is not None
    assert trainer.finished.success.model.classes == list(cells.classes)
    prior = json.loads(trainer.content("checkpoint"))
    assert max(prior, key=prior.__getitem__) == "RBC"
    assert sum(prior.values()) == pytest.approx(1)
    [seen] = trainer.of_kind("metrics")
    assert seen.metrics.values["train/largest"] == pytest.approx(prior["RBC"])


async def test_a_recipe_that_is_not_installed_says_what_to_do(
    trainer: FakeTrainer, cells: Version, tmp_path: Path
) -> None:
    path = {"PYTHONPATH": str(SCRIPTED)}
    async with served(trainer, cells), running(trainer, tmp_path, settings=path) as worker:
        await worker.exit_code()
    assert trainer.finished is not None
    assert trainer.finished.failure.reason.code == "CONFIG_ERROR"
    assert "class_prior is not installed" in trainer.finished.failure.reason.message
