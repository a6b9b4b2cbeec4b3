"""What a caller wants of an alias, and what can be said of it without asking anybody."""

from dataclasses import dataclass

from bloomery_inference.model import Condition
from bloomery_inference.names import ALIAS, check_alias, parse_selector
from bloomery_inference.promotion import check_conditions
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text

DEFAULT_SPLIT = "test"
SPLITS = (DEFAULT_SPLIT, "val", "train", "all")


@dataclass(frozen=True)
class Move:
    """A wish to let the alias called `name` name a version.

    Attributes:
        expected: number of the version that it must name before, 0 for none, None for any.
        conditions: what must have been measured, on `dataset_version` or, where that is empty, on any.
        if_better: the version must be better than the one that is named before, on the images of `split`.
    """

    name: str
    model_version: str
    expected: int | None
    reason: str
    conditions: tuple[Condition, ...]
    dataset_version: str
    if_better: bool = False
    split: str = DEFAULT_SPLIT


def check_move(move: Move) -> None:
    """Raise InvalidArgument with everything that is wrong with a wish."""
    violations = Violations()
    ids = ALIAS.check(move.name, "name", violations)
    if ids:
        check_alias(ids["alias"], "name", violations)
    check_text(move.reason, "reason", violations)
    if (move.expected or 0) < 0:
        violations.add("expected_version", "must be the number of a version, or 0 where there must be no such alias")
    check_conditions(move.conditions, move.dataset_version, violations)
    if move.split not in SPLITS:
        violations.add("split", f"must be one of {', '.join(SPLITS)}")
    violations.raise_if_any()
    selector = parse_selector(move.model_version, "model_version")
    if ids and (selector.project, selector.model) != (ids["project"], ids["model"]):
        violations.add("model_version", f"must be a version of {move.name.partition('/aliases/')[0]}")
    violations.raise_if_any()
