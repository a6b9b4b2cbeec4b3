"""The images as they are written down: who they run as, what they tell of themselves, and what is kept of a build."""

import re
from pathlib import Path

import pytest

IMAGES = sorted((Path(__file__).resolve().parents[2] / "deploy/images").glob("*.Dockerfile"))
OURS = [path for path in IMAGES if path.name.split(".")[0] in {"control", "worker"}]


def name(path: Path) -> str:
    return path.name.removesuffix(".Dockerfile")


def last_stage(path: Path) -> str:
    return re.split(r"^FROM ", path.read_text(), flags=re.MULTILINE)[-1]


@pytest.mark.parametrize("image", IMAGES, ids=name)
def test_an_image_runs_as_a_numeric_user_and_says_what_it_is(image: Path) -> None:
    stage = last_stage(image)
    (user,) = re.findall(r"^USER (.*)$", stage, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    for label in ("title", "version", "licenses"):
        assert f"org.opencontainers.image.{label}=" in stage
    assert "dev.bloomery.sbom=" in stage


@pytest.mark.parametrize("image", OURS, ids=name)
def test_a_change_of_our_code_leaves_the_layer_of_others_as_it_is(image: Path) -> None:
    text = image.read_text()
    (locked,) = re.findall(r"^FROM \S+ AS locked\n(.*?)^FROM ", text, re.MULTILINE | re.DOTALL)
    assert [line for line in locked.splitlines() if line.startswith("COPY ")] == [
        "COPY --from=list /list /opt/bloomery-list"
    ]
    assert last_stage(image).startswith("locked\n")


def test_control_knows_the_recipes_of_both_worker_images() -> None:
    folder = IMAGES[0].parent
    recipes = re.compile(r"\bbloomery-recipe-(\w+)|\brecipes/(\w+)")

    def found(text: str) -> set[str]:
        return {one or other for one, other in recipes.findall(text)}

    control = (folder / "control.Dockerfile").read_text()
    (permissive,) = re.findall(r'permissive="(.*?)"', control)
    (everything,) = re.findall(r"--target /recipes/worker (.*)$", control, re.MULTILINE)
    (worker,) = set(re.findall(r'^ARG RECIPES="(.*)"$', (folder / "worker.Dockerfile").read_text(), re.MULTILINE))
    (without,) = re.findall(r'"RECIPES=(.*?)"', (folder / "build").read_text())
    assert found(permissive) == found(without)
    assert found(permissive) | found(everything) == found(worker)
