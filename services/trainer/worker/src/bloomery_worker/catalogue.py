"""The recipes that are installed beside the worker: `python -P -m bloomery_worker.catalogue`.

A package makes a recipe known by an entry point of the group `bloomery.recipes`: its name is the recipe's id, its value
the package that holds the code, with `recipe.yaml` inside. What is found is printed as one JSON object. To each text
is added which forms of models this environment runs, as the key `forms`: no recipe can know.
"""

import json
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from bloomery_worker.runners import runnable

GROUP = "bloomery.recipes"
FILE = "recipe.yaml"


def installed() -> dict[str, str]:
    """The text of every installed `recipe.yaml` by what people call it; an empty text where it cannot be read."""
    forms = f"\nforms: [{', '.join(runnable())}]\n"
    texts = {f"{entry.name} ({entry.value}/{FILE})": _text(entry) for entry in entry_points(group=GROUP)}
    return {name: text and text + forms for name, text in texts.items()}


def _text(entry: EntryPoint) -> str:
    # Looking for a module inside a package would run the package's code.
    package, *inner = entry.module.split(".")
    try:
        spec = find_spec(package)
        places = spec.submodule_search_locations if spec else None
        return Path(next(iter(places or ())), *inner, FILE).read_text("utf-8")
    except (ImportError, OSError, StopIteration, ValueError):
        return ""


if __name__ == "__main__":
    print(json.dumps(installed()))
