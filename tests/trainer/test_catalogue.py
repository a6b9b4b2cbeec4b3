"""Recipes of other packages: found in the worker's environment, without any of their code in the server."""

import json
import logging
from pathlib import Path

import pytest

from bloomery_kit.errors import InvalidArgument, Violations
from bloomery_trainer.installed import recipe_texts
from bloomery_trainer.model import Kind
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Catalogue, CatalogueError
from bloomery_trainer.settings import TrainerSettings
from tests.trainer.bench import World
from tests.trainer.neighbours import Annotation, Datasets

HERE = Path(__file__).parent
TEXT = (HERE / "recipes/scripted/recipe.yaml").read_text("utf-8")
CODE = "raise RuntimeError('the code of a recipe runs in workers only')\n"


def package(folder: Path, name: str, recipe: str | None, *, inside: str = "") -> None:
    """Put an installed package with one recipe into a folder of packages, as an installer does."""
    place = folder / name / inside
    place.mkdir(parents=True)
    (folder / name / "__init__.py").write_text(CODE)
    if recipe is not None:
        (place / "recipe.yaml").write_text(recipe)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    module = f"{name}.{inside}" if inside else name
    (about / "entry_points.txt").write_text(f"[bloomery.recipes]\n{name} = {module}\n")


def settings(folder: Path, python: Path, catalogue: Path | None = None) -> TrainerSettings:
    world = World(folder, Annotation(), Datasets(), "none:1", 1)  # type: ignore[abstract]
    return world.settings(launcher=world.launcher(worker_python=python), catalogue=catalogue)


def interpreter(folder: Path, worker_python: Path) -> Path:
    """The worker's interpreter, with one more folder of packages."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{worker_python}" "$@"\n')
    script.chmod(0o755)
    return script


async def test_an_installed_package_adds_its_recipe(
    tmp_path: Path, worker_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "another", TEXT.replace("name: scripted", "name: another"))
    package(tmp_path, "many", TEXT.replace("name: scripted", "name: inner"), inside="inner")
    package(tmp_path, "empty", None)
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    found = await recipe_texts(settings(tmp_path, interpreter(tmp_path, worker_python)))
    assert found["empty (empty/recipe.yaml)"] == ""
    recipes = Catalogue.load(found).list()
    assert {"another", "inner", "yolo-detect", "yolo-segment", "yolo-classify"} <= {recipe.name for recipe in recipes}
    # The environment says what it runs.
    assert all({"onnx-fp32", "onnx-int8"} <= set(recipe.forms) for recipe in recipes)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the file"),
        (TEXT, "scripted is taken"),
        (TEXT.replace("task: detect", "task: dance").replace("scripted", "other"), "task"),
        ("{", "expected"),
        ("name: 2001-13-01", "month must be"),
    ],
)
def test_a_faulty_one_is_left_out_and_told(text: str, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        recipes = Catalogue.load({"ours": TEXT, "theirs (theirs/recipe.yaml)": text}).list()
    assert [recipe.name for recipe in recipes] == ["scripted"]
    told = [str(record.__dict__["problem"]) for record in caplog.records]
    assert any(line.startswith("theirs (theirs/recipe.yaml)") and problem in line for line in told)


@pytest.mark.parametrize("answer", [None, "exit 3", "echo no json", "sleep 60"])
async def test_an_environment_that_cannot_be_asked_has_none(
    tmp_path: Path, answer: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_trainer.installed._SECONDS", 1.0)
    python = tmp_path / "python"
    if answer:
        python.write_text(f"#!/bin/sh\nexec {answer}\n" if "sleep" in answer else f"#!/bin/sh\n{answer}\n")
        python.chmod(0o755)
    assert await recipe_texts(settings(tmp_path, python)) == {}


async def test_a_catalogue_that_an_image_brought_is_read_from_its_file(tmp_path: Path) -> None:
    catalogue = tmp_path / "theirs.json"
    catalogue.write_text(json.dumps({"theirs": TEXT}))
    found = await recipe_texts(settings(tmp_path, tmp_path / "no-python", catalogue))
    assert [recipe.name for recipe in Catalogue.load(found).list()] == ["scripted"]


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": 1}'])
async def test_a_catalogue_that_is_none_is_refused_at_the_start(tmp_path: Path, content: str | None) -> None:
    catalogue = tmp_path / "theirs.json"
    if content is not None:
        catalogue.write_text(content)
    with pytest.raises(CatalogueError, match="is no catalogue"):
        await recipe_texts(settings(tmp_path, tmp_path / "no-python", catalogue))


def test_a_text_that_must_be_an_augmentation_policy_is_checked() -> None:
    line = "{id: script, type: string, default: finish, description: What the worker does.}"
    wanted = "{id: augment, type: string, default: '', format: augmentation-policy, description: What to change.}"
    [recipe] = Catalogue.load({"ours": TEXT.replace(line, wanted)}).list()
    violations = Violations()
    parameters = {"augment": "low_contrst,lighting=dark"}
    assert "augment" not in effective_parameters(recipe, Kind.TRAIN, parameters, violations)
    with pytest.raises(InvalidArgument) as refusal:
        violations.raise_if_any()
    [(field, problem)] = [(one.field, one.description) for one in refusal.value.violations]
    assert field == "job.parameters.augment"
    assert "did you mean low_contrast?" in problem
    assert "environment.lighting: 'dark' is none; choose from stable, variable, poor" in problem
    for fine in ("", " ", "low_contrast", "{environment: {lighting: poor}}"):
        assert effective_parameters(recipe, Kind.TRAIN, {"augment": fine}, Violations())["augment"] == fine


def test_a_default_that_is_no_policy_is_a_fault_of_the_recipe(caplog: pytest.LogCaptureFixture) -> None:
    wrong = TEXT.replace("id: script, type: string", "id: script, format: augmentation-policy, type: string")
    with caplog.at_level(logging.ERROR):
        assert Catalogue.load({"ours": wrong}).list() == []
    assert "default must be an augmentation policy" in str(caplog.records[0].__dict__["problem"])
