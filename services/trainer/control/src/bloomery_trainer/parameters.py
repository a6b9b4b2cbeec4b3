"""The parameters of a job: checked against the recipe's, with every default filled in."""

import difflib
from collections.abc import Mapping

from bloomery_kit.errors import Violations
from bloomery_trainer.model import Kind, ParameterValue
from bloomery_trainer.recipes import Recipe


def effective_parameters(
    recipe: Recipe, kind: Kind, given: Mapping[str, object], violations: Violations
) -> dict[str, ParameterValue]:
    """Every parameter of `kind` with the given value or its default; all that is wrong goes to `violations`."""
    known = recipe.parameters_of(kind)
    for name in given.keys() - known.keys():
        violations.add(f"job.parameters.{name}", _unknown(name, known, recipe, kind))
    effective: dict[str, ParameterValue] = {}
    for name, parameter in known.items():
        value = given.get(name, parameter.default)
        if value is None:
            continue
        problem = parameter.problem_with(value)
        if problem is not None or not isinstance(value, ParameterValue):
            violations.add(f"job.parameters.{name}", f"{problem}, not {_shown(value)}")
        else:
            effective[name] = parameter.coerced(value)
    return effective


def _shown(value: object) -> str:
    # The wire has doubles only: nobody typed the .0 of a whole number.
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else repr(value)


def _unknown(name: str, known: Mapping[str, object], recipe: Recipe, kind: Kind) -> str:
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it takes {', '.join(known) or 'none'}"
    return f"is no parameter of {recipe.name} for {kind.name}; {hint}"
