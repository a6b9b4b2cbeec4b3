"""ARCHITECTURE.md against the folders that it describes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGES = {
    "access": ROOT / "services/access/src/bloomery_access",
    "annotation": ROOT / "services/annotation/src/bloomery_annotation",
    "dataset": ROOT / "services/dataset/src/bloomery_dataset",
    "trainer": ROOT / "services/trainer/control/src/bloomery_trainer",
    "inference": ROOT / "services/inference/src/bloomery_inference",
    "worker": ROOT / "services/trainer/worker/src/bloomery_worker",
    "onnx": ROOT / "services/trainer/recipes/onnx/src/bloomery_recipe_onnx",
    "detr": ROOT / "services/trainer/recipes/detr/src/bloomery_recipe_detr",
    "timm": ROOT / "services/trainer/recipes/timm/src/bloomery_recipe_timm",
    "yolo": ROOT / "services/trainer/recipes/yolo/src/bloomery_recipe_yolo",
}
SERVICES = PACKAGES.keys() - {"worker", "onnx", "detr", "timm", "yolo"}
NAME = re.compile(r"`([^`]+)`")


def first_column(heading: str) -> Iterator[str]:
    """The first cells of the table whose first column has this heading."""
    lines = iter(TEXT.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield line.split("|")[1].strip()


def test_every_folder_is_there() -> None:
    for cell in first_column("folder"):
        for name in NAME.findall(cell):
            assert list(ROOT.glob(re.sub(r"<[^>]+>", "*", name).rstrip("/"))) or (ROOT / "services" / name).is_dir(), (
                name
            )


def test_every_service_has_the_files_that_all_have() -> None:
    cells = list(first_column("file"))
    assert cells
    for service in SERVICES:
        for cell in cells:
            assert any((PACKAGES[service] / name).exists() for name in NAME.findall(cell)), (service, cell)


def test_every_room_is_in_its_service() -> None:
    cells = list(first_column("room"))
    assert cells
    for cell in cells:
        for name in NAME.findall(cell):
            assert (PACKAGES[cell.split()[0]] / name).exists(), cell


@pytest.mark.parametrize("library", ["kit", "vision"])
def test_every_room_of_the_libraries_is_listed(library: str) -> None:
    listed = {name.rstrip("/") for cell in first_column(f"room of {library}") for name in NAME.findall(cell)}
    package = ROOT / f"libs/{library}/src/bloomery_{library}"
    there = {path.name for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert listed == there - {"__init__.py"}
