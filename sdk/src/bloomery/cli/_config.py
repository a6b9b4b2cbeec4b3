"""A training as a YAML file: the template that a recipe makes, and the file that is read back."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import yaml

    from bloomery.training.v1 import Parameter, Recipe

_KEYS = ("recipe", "base", "model")
_FLOAT = r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"


@dataclass(frozen=True)
class Config:
    """What a file says; empty texts where it says nothing. The server checks the parameters."""

    recipe: str = ""
    base: str = ""
    model: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def read(path: Path) -> Config:
    """Read a file with the keys `recipe`, `base`, `model`, `seed` and `parameters`, all optional.

    Raises:
        typer.BadParameter: it is no such file; says all that is wrong with its keys.
    """
    import yaml

    try:
        found = yaml.load(path.read_text("utf-8"), _loader())  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--config") from None
    found = {} if found is None else found
    if problems := list(_problems(found)):
        raise typer.BadParameter(f"{path}: {'; '.join(problems)}", param_hint="--config")
    parameters = found.get("parameters") or {}
    seed = {"seed": found["seed"]} if "seed" in found else {}
    texts = {key: found.get(key) or "" for key in _KEYS}
    return Config(**texts, parameters=seed | {str(name): _plain(value) for name, value in parameters.items()})


def _problems(found: object) -> Iterator[str]:
    if not isinstance(found, dict):
        yield "must be a mapping with `parameters`"
        return
    for key, value in found.items():
        if key in _KEYS and not isinstance(value, str | None):
            yield f"{key} must be a text"
        elif key == "parameters" and not isinstance(value, dict | None):
            yield "parameters must be a mapping"
        elif key not in (*_KEYS, "seed", "parameters"):
            yield f"{key} is none of {', '.join(_KEYS)}, seed, parameters"
    if "seed" in found and "seed" in (found.get("parameters") or {}):
        yield "seed is given twice"


def _plain(value: object) -> object:
    """The value where the wire has its type, else its text, which the server refuses with the parameter's name."""
    return value if isinstance(value, bool | int | float | str | None) else json.dumps(value, default=str)


def _loader() -> "type[yaml.SafeLoader]":
    """A safe loader by the rules of YAML 1.2, where 1e-3 is a number, and no and on are texts."""
    import re

    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])
    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), list("tf"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+.0123456789"))
    return Loader


def template(recipe: "Recipe") -> str:
    """A file with every parameter of a recipe's trainings at its default, which `read` takes as it is."""
    identifier = recipe.name.rpartition("/")[2]
    lines = [
        *_comment(f"{recipe.display_name or identifier}, version {recipe.version}, {recipe.license}."),
        *_comment(recipe.description),
        "#",
        "# bloomery train DATASET@VERSION --config THIS_FILE",
        f"recipe: {json.dumps(identifier)}",
        "",
        *_comment(f"Weights to start from: {', '.join(recipe.bases)}; or MODEL@VERSION."),
        f"base: {json.dumps(next(iter(recipe.bases), 'scratch'))}",
        "",
        "# Model to publish under; without this line, the one with the dataset's id.",
        "# model: my-model",
        "",
        "parameters:",
    ]
    group = ""
    for parameter in recipe.parameters:
        if parameter.kinds and "TRAIN" not in parameter.kinds:
            continue
        if parameter.group != group:
            group = parameter.group
            lines += ["", f"  # ---- {group} ----"]
        lines += ["", *_entry(parameter)]
    return "\n".join(lines) + "\n"


def _entry(parameter: "Parameter") -> Iterator[str]:
    yield from _comment(parameter.description, indent="  ")
    facts = (_TYPES.get(parameter.type, ""), limits(parameter), parameter.unit, "advanced" * parameter.advanced)
    yield from _comment(", ".join(filter(None, facts)), indent="  ")
    value = default(parameter)
    if value is None:
        yield f"  # {parameter.id}:"
    else:
        yield f"  {parameter.id}: {json.dumps(value, ensure_ascii=False)}"


_TYPES = {1: "whole number", 2: "number", 3: "true or false", 4: "text"}
"""By the number of `Parameter.Type`, which is not loaded for the help of a command."""


def _comment(text: str, indent: str = "") -> Iterator[str]:
    for line in textwrap.wrap(text, 100, break_on_hyphens=False, break_long_words=False):
        yield f"{indent}# {line}"


def default(parameter: "Parameter") -> float | str | bool | None:
    """The value where none is given; None for a parameter that is then left out."""
    match parameter.default_value.WhichOneof("kind"):
        case "number_value":
            number = parameter.default_value.number_value
            return int(number) if parameter.type == parameter.TYPE_INT else number
        case "string_value":
            return parameter.default_value.string_value
        case "bool_value":
            return parameter.default_value.bool_value
        case _:
            return None


def limits(parameter: "Parameter") -> str:
    """The allowed values as people read them; empty where any is."""
    if parameter.choices:
        return "|".join(parameter.choices)
    low = f"{parameter.minimum:.10g}" if parameter.HasField("minimum") else ""
    high = f"{parameter.maximum:.10g}" if parameter.HasField("maximum") else ""
    return f"{low}..{high}" if low or high else ""
