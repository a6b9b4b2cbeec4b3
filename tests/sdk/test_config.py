"""A training as a file: what a template says is what is read back, and the command line has the last word."""

from pathlib import Path

import pytest
import typer
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from bloomery.cli import _config
from bloomery.training import v1 as training
from bloomery_kit.errors import Violations
from bloomery_trainer.convert_recipes import recipe_message
from bloomery_trainer.model import Kind
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Catalogue, Recipe
from tests.recipe_files import OWN, texts
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

RECIPES = [recipe for recipe in Catalogue.load(texts(OWN)).list() if recipe.bases]
"""Those that train: the others start from nothing."""


def written(folder: Path, text: str) -> Path:
    path = folder / "training.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_template_means_all_defaults(recipe: Recipe, tmp_path: Path) -> None:
    found = _config.read(written(tmp_path, _config.template(recipe_message(recipe))))
    assert (found.recipe, found.base, found.model) == (recipe.name, recipe.bases[0], "")
    violations = Violations()
    given_all = effective_parameters(recipe, Kind.TRAIN, found.parameters, violations)
    assert given_all == effective_parameters(recipe, Kind.TRAIN, {}, violations)
    assert found.parameters == given_all
    violations.raise_if_any()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_template_explains_every_parameter(recipe: Recipe) -> None:
    text = _config.template(recipe_message(recipe))
    words = " ".join(line.strip().removeprefix("# ") for line in text.splitlines())
    for parameter in recipe.parameters_of(Kind.TRAIN).values():
        assert f"{parameter.id}:" in text
        assert " ".join(parameter.description.split()) in words
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_template_reaches_the_server_through_the_command_line(fake: Fake, run: Run, tmp_path: Path) -> None:
    fake.answer("GetRecipe", recipe_message(RECIPES[0]))
    shown = run(f"recipes template {RECIPES[0].name}")
    assert shown.exit_code == 0, shown.output
    result = run("train cells-v@1 --config", str(written(tmp_path, shown.stdout)))
    assert result.exit_code == 0, result.output
    job = fake.calls["CreateJob"][0].job
    assert (job.recipe, job.base) == (f"recipes/{RECIPES[0].name}", RECIPES[0].bases[0])
    assert MessageToDict(job.parameters) == effective_parameters(RECIPES[0], Kind.TRAIN, {}, Violations())


def test_options_go_before_the_file(fake: Fake, run: Run, tmp_path: Path) -> None:
    text = "recipe: one\nbase: b.pt\nmodel: m\nseed: 7\nparameters: {epochs: 5, lr0: 1e-3, cache: no}\n"
    path = str(written(tmp_path, text))
    run("train cells-v@1 --config", path)
    run("train cells-v@1 --recipe two --base scratch --model n --set epochs=9 --set seed=8 --config", path)
    first, second = (request.job for request in fake.calls["CreateJob"])
    assert (first.recipe, first.base, first.model) == ("recipes/one", "b.pt", "projects/cells/models/m")
    assert dict(first.parameters) == {"seed": 7, "epochs": 5, "lr0": 0.001, "cache": "no"}
    assert (second.recipe, second.base, second.model) == ("recipes/two", "scratch", "projects/cells/models/n")
    assert dict(second.parameters) == {"seed": 8, "epochs": 9, "lr0": 0.001, "cache": "no"}


def test_what_no_parameter_can_be_is_left_for_the_server_to_refuse(fake: Fake, run: Run, tmp_path: Path) -> None:
    text = "recipe: one\nparameters: {epochs: [1, 2], optimizer: {a: b}, when: 2026-01-01, patience: null}\n"
    run("train cells-v@1 --config", str(written(tmp_path, text)))
    expected = {"epochs": "[1, 2]", "optimizer": '{"a": "b"}', "when": "2026-01-01", "patience": None}
    assert MessageToDict(fake.calls["CreateJob"][0].job.parameters) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", ["must be a mapping"]),
        ("parameters: [1]", ["parameters must be a mapping"]),
        ("recipe: 5\nepochs: 3\nbase: [x]", ["recipe must be a text", "base must be a text", "epochs is none of"]),
        ("seed: 1\nparameters: {seed: 2}", ["seed is given twice"]),
        ("a: [", ["cannot be read"]),
        ("recipe: !!python/object:os.system x", ["cannot be read"]),
    ],
)
def test_all_that_is_wrong_with_the_keys_is_told(text: str, said: list[str], tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter) as raised:
        _config.read(written(tmp_path, text))
    for words in said:
        assert words in str(raised.value)


def test_a_wrong_file_is_a_wrong_command_line(run: Run, tmp_path: Path) -> None:
    assert run("train cells-v@1 --config", str(tmp_path / "none.yaml")).exit_code == 2
    assert run("train cells-v@1 --config", str(written(tmp_path, "parameters: {}"))).exit_code == 2


values = st.one_of(st.booleans(), st.integers(-(2**31), 2**31), st.floats(allow_nan=False, allow_infinity=False))


visible = st.characters(categories=["L", "N", "P", "S", "Zs"])


@given(default=st.one_of(values, st.text(visible)))
def test_any_default_survives_the_template(default: float | str, tmp_path_factory: pytest.TempPathFactory) -> None:
    parameter = training.Parameter(id="x", description="Any.", type=training.Parameter.TYPE_FLOAT)
    match default:
        case bool():
            parameter.default_value.bool_value = default
        case str():
            parameter.default_value.string_value = default
        case _:
            parameter.default_value.number_value = default
    text = _config.template(training.Recipe(name="recipes/r", parameters=[parameter]))
    assert _config.read(written(tmp_path_factory.mktemp("c"), text)).parameters == {"x": default}
