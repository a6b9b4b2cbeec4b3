"""The `recipe.yaml` files below a folder, as an environment in which they are installed tells them."""

from collections.abc import Mapping
from pathlib import Path

OWN = Path(__file__).parents[1] / "services/trainer/recipes"


def texts(folder: Path) -> Mapping[str, str]:
    return {str(path): path.read_text("utf-8") for path in sorted(folder.rglob("recipe.yaml"))}
