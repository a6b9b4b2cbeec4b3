"""The catalogue of recipes: every installed `recipe.yaml`, read strictly and without importing any code.

A recipe.yaml, in which every key that is not marked optional must be there and no other may be:

    name: yolo-detect                # id, unique in the catalogue
    display_name: YOLO detector
    description: What it does and when to choose it.
    version: "1"
    license: AGPL-3.0-only           # SPDX
    task: detect                     # detect, segment, classify
    kinds: [TRAIN, OPTIMIZE]         # what it runs: TRAIN, EVALUATE, OPTIMIZE, PREDICT, IMPORT
    module: package.module           # the worker's code
    bases: [yolov8n.pt]              # optional: base weights by name, the first is the default
    resources: {cpus: 2, memory: 4GiB, gpus: 0}       # memory in bytes, or with a unit
    parameters:
      - id: epochs
        type: int                    # int, float, bool, string
        default: 20                  # null: left out unless given
        description: What it means and how to choose it.
        minimum: 1                   # optional, numbers only, inclusive
        maximum: 1000                # optional, numbers only, inclusive
        choices: [a, b]              # optional, texts only
        format: augmentation-policy  # optional, texts only: how one is written; an empty one is always allowed
        group: schedule              # optional
        unit: px                     # optional
        advanced: false              # optional
        kinds: [TRAIN]               # optional: the kinds of job that take it; TRAIN by default
    forms: [onnx-fp32]               # of models that the worker's environment runs: added by its catalogue
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from bloomery_augment.policy import Policy, PolicyError
from bloomery_kit.errors import NotFound
from bloomery_trainer.model import Kind, ParameterValue, Resources, Task

_log = logging.getLogger("bloomery.trainer")
_ID = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
_STRICT = ConfigDict(frozen=True, extra="forbid")


class _RecipeResources(BaseModel):
    model_config = _STRICT
    cpus: float = Field(gt=0)
    memory: ByteSize
    gpus: int = Field(ge=0)


def _by_name(value: object) -> object:
    return Kind[value] if isinstance(value, str) and value in Kind.__members__ else value


def _task_by_name(value: object) -> object:
    return Task[value.upper()] if isinstance(value, str) and value.upper() in Task.__members__ else value


KindName = Annotated[Kind, BeforeValidator(_by_name)]


class Parameter(BaseModel):
    """A parameter of a recipe."""

    model_config = _STRICT
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: Literal["int", "float", "bool", "string"]
    default: StrictBool | StrictInt | StrictFloat | StrictStr | None
    description: str = Field(min_length=1)
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    format: Literal["", "augmentation-policy"] = ""
    group: str = ""
    unit: str = ""
    advanced: bool = False
    kinds: tuple[KindName, ...] = (Kind.TRAIN,)

    @model_validator(mode="after")
    def _check_default(self) -> Self:
        if self.default is not None and (wrong := self.problem_with(self.default)):
            raise ValueError(f"default {wrong}")
        return self

    def problem_with(self, value: object) -> str | None:
        """What is wrong with a value and what would be right; None if it is fine."""
        if not self._has_type(value):
            return f"must be {_TYPES[self.type]}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._range_problem(value)
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        return _policy_problem(value) if self.format and isinstance(value, str) else None

    def coerced(self, value: ParameterValue) -> ParameterValue:
        """A valid value in the parameter's own type; the wire knows only doubles."""
        if self.type == "int":
            return int(value)
        return float(value) if self.type == "float" else value

    def _has_type(self, value: object) -> bool:
        if isinstance(value, bool) or self.type == "bool":
            return isinstance(value, bool) and self.type == "bool"
        if self.type == "int":
            return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return isinstance(value, int | float) if self.type == "float" else isinstance(value, str)

    def _range_problem(self, value: float) -> str | None:
        low, high = self.minimum, self.maximum
        if math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high):
            return None
        if low is not None and high is not None:
            return f"must be between {low:g} and {high:g}"
        if low is not None:
            return f"must be at least {low:g}"
        return f"must be at most {high:g}" if high is not None else "must be a finite number"


def _policy_problem(text: str) -> str | None:
    try:
        if text.strip():
            Policy.parse(text)
    except PolicyError as error:
        return f"must be an augmentation policy: {error}"
    return None


_TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "a text"}


class Recipe(BaseModel):
    """A way to make or change a model."""

    model_config = _STRICT
    name: str = Field(pattern=_ID)
    display_name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    version: str = Field(min_length=1)
    license: str = Field(min_length=1)
    task: Annotated[Task, BeforeValidator(_task_by_name)]
    kinds: tuple[KindName, ...] = Field(min_length=1)
    module: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")
    bases: tuple[str, ...] = ()
    resources: _RecipeResources
    parameters: tuple[Parameter, ...]
    forms: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        ids = [(parameter.id, kind) for parameter in self.parameters for kind in parameter.kinds]
        if twice := sorted({f"{name} ({kind.name})" for name, kind in ids if ids.count((name, kind)) > 1}):
            raise ValueError(f"parameters given twice: {', '.join(twice)}")
        return self

    @property
    def resource_name(self) -> str:
        """The name in the API."""
        return f"recipes/{self.name}"

    @property
    def default_resources(self) -> Resources:
        """What an attempt takes where the job does not say."""
        return Resources(self.resources.cpus, int(self.resources.memory), self.resources.gpus)

    def parameters_of(self, kind: Kind) -> Mapping[str, Parameter]:
        """The parameters of one kind of job, by id."""
        return {parameter.id: parameter for parameter in self.parameters if kind in parameter.kinds}


class CatalogueError(Exception):
    """There is no catalogue to read."""


class Catalogue:
    """All recipes by name."""

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self._recipes = {recipe.resource_name: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.name)}

    @classmethod
    def load(cls, texts: Mapping[str, str]) -> "Catalogue":
        """Read the texts of `recipe.yaml` files, by what people call them.

        One with a fault is left out, and the fault is logged: its package is not the operator's own.
        """
        recipes: dict[str, Recipe] = {}
        for source, text in sorted(texts.items()):
            for problem in _add(source, text, recipes):
                _log.error("a recipe is left out", extra={"problem": problem})
        _log.info("the catalogue of recipes", extra={"recipes": len(recipes), "names": sorted(recipes)})
        return cls(list(recipes.values()))

    def list(self) -> Sequence[Recipe]:
        """All recipes in the order of their ids."""
        return list(self._recipes.values())

    def get(self, name: str) -> Recipe:
        """The recipe `recipes/{recipe}`, or with the id alone. Raise NotFound."""
        found = self._recipes.get(name) or self._recipes.get(f"recipes/{name}")
        if found is None:
            raise NotFound("recipe", name, self.known())
        return found

    def known(self) -> str:
        """Which recipes there are, for people who named none of them."""
        return f"there are {', '.join(self._recipes)}" if self._recipes else "the catalogue is empty"


def _add(source: str, text: str, recipes: dict[str, Recipe]) -> Sequence[str]:
    """Put the recipe of a text to the others, or say all that is wrong with it."""
    try:
        recipe = Recipe.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
    except ValidationError as error:
        places = [(".".join(str(part) for part in one["loc"]) or "the file", one["msg"]) for one in error.errors()]
        return [f"{source}: {place}: {message.removeprefix('Value error, ')}" for place, message in places]
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        return [f"{source}: {error}"]
    taken = recipes.setdefault(recipe.name, recipe) is not recipe
    return [f"{source}: name: {recipe.name} is taken by another recipe"] if taken else []
