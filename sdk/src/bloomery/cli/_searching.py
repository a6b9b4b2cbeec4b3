"""Searches of `bloomery train`: what is tried, and how."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from bloomery.cli._pairs import value
from bloomery.cli._progress import steps

if TYPE_CHECKING:
    from bloomery import DatasetVersion, JobGroup

Given = Mapping[str, float | str | bool]


def divided(settings: Given) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters that are the same in all trials, and what is tried of the others: ranges, and values between `|`."""
    # The client's package is large, and other commands load this module for its help alone.
    from bloomery._search import read_range

    space: dict[str, Any] = {}
    for name, given in settings.items():
        if isinstance(given, str) and "|" in given:
            space[name] = [value(part) for part in given.split("|")]
        elif isinstance(given, str) and read_range(given):
            space[name] = given
    return {name: given for name, given in settings.items() if name not in space}, space


def search(
    version: "DatasetVersion", recipe: str, count: int, common: Mapping[str, Any], *, seed: int, halving: bool
) -> "JobGroup":
    """Start the trials; of a halving, wait for its rounds.

    Raises:
        typer.BadParameter: the epochs of a halving are not given.
    """
    same, space = divided(common["settings"])
    given = {**common, "settings": same}
    if not halving:
        return version.train_search(recipe, space, count, seed=seed, **given)
    epochs = same.pop("epochs", None)
    if not isinstance(epochs, int):
        raise typer.BadParameter("needs `--set epochs=N`: those of the last round", param_hint="--halving")
    by = str(same.get("best_by", ""))
    with steps() as tell:
        return version.train_halving(recipe, space, count, epochs=epochs, by=by, seed=seed, progress=tell, **given)
