"""The recipe that is tried, as its `recipe.yaml` declares it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import yaml

from bloomery_worker.catalogue import FILE
from bloomery_worker.failures import ConfigError
from bloomery_worker.messages import Value

SMALL: Mapping[str, Value] = {"epochs": 3, "imgsz": 32, "batch": 4, "workers": 0, "images": 4, "sample_predictions": 1}
"""Parameters that make a job of seconds, where a recipe has them, as far as its limits let them."""
_NUMBERS = ("int", "float")
_TYPES: Mapping[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "string": (str,)}


@dataclass(frozen=True, slots=True)
class Subject:
    """A recipe: the content of its file."""

    content: Mapping[str, Any]

    @classmethod
    def read(cls, package: str) -> Self:
        """The recipe of a package that is installed here. Raises ConfigError where there is none."""
        outer, *inner = package.split(".")
        spec = find_spec(outer)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(f"the package {package} is not installed here", hint="install it beside the worker")
        path = Path(next(iter(spec.submodule_search_locations)), *inner, FILE)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as problem:
            raise ConfigError(f"the package {package} has no readable {FILE}: {problem}", hint="write one") from problem
        return cls(content)

    def does(self, kind: str) -> bool:
        """Whether it does jobs of that kind."""
        return kind in self.content["kinds"]

    def parameters(self, kind: str, given: Mapping[str, Value]) -> dict[str, Value]:
        """The effective parameters of a small job, with what was given instead."""
        declared = {one["id"]: one for one in self._of(kind)}
        values = {name: one["default"] for name, one in declared.items() if one["default"] is not None}
        return {**values, **self.within(SMALL, kind), **{name: one for name, one in given.items() if name in declared}}

    def within(self, values: Mapping[str, Value], kind: str = "TRAIN") -> dict[str, Value]:
        """Those of the values whose parameters it has, as far as their limits let them."""
        declared = {one["id"]: one for one in self._of(kind)}
        return {name: _within(value, declared[name]) for name, value in values.items() if name in declared}

    def unknown(self, given: Iterable[str]) -> list[str]:
        """Names that none of its parameters has."""
        known = {one["id"] for one in self.content.get("parameters", ())}
        return [name for name in given if name not in known]

    def problems(self) -> Iterator[str]:
        """What is wrong with its parameters: all of it."""
        for one in self.content.get("parameters", ()):
            name, default = one["id"], one["default"]
            if len(str(one.get("description", ""))) < len("At least a word."):
                yield f"{name} does not say what it does"
            if default is None:
                continue
            if not isinstance(default, _TYPES[one["type"]]) or isinstance(default, bool) != (one["type"] == "bool"):
                yield f"{name} is of type {one['type']}, and its default {default!r} is not"
            elif "choices" in one and default not in one["choices"]:
                yield f"{name} has the default {default!r}, which is none of its choices"
            elif one["type"] in _NUMBERS and _within(default, one) != default:
                yield f"{name} has the default {default}, which is beyond its limits"
            if one["type"] in _NUMBERS and "choices" not in one and not {"minimum", "maximum"} <= one.keys():
                yield f"{name} is a number without limits: what makes no sense would be found out in the worker"

    def _of(self, kind: str) -> Iterator[Mapping[str, Any]]:
        return (one for one in self.content.get("parameters", ()) if kind in (one.get("kinds") or ["TRAIN"]))


def _within(value: Any, declared: Mapping[str, Any]) -> Any:
    least, most = declared.get("minimum", value), declared.get("maximum", value)
    return min(max(value, least), most)
