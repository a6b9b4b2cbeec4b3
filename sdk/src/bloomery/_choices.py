"""What people choose by name or write in a line, as the contract says it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from bloomery.dataset import v1 as dataset
from bloomery.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper

Unassigned = Literal["train", "val", "test", "drop"]
V = TypeVar("V", bound=int)


def chosen(kind: "_EnumTypeWrapper[V]", argument: str, name: str, choices: Sequence[str]) -> V:
    """The value that a choice stands for, in capitals or not.

    Raises:
        InvalidArgument: it is none of the choices.
    """
    if name.casefold() not in map(str.casefold, choices):
        raise InvalidArgument(f"{argument} must be one of {', '.join(choices)}, not {name!r}")
    prefix = kind.keys()[0].removesuffix("UNSPECIFIED")
    return kind.Value(prefix + name.upper())


def split_policy(text: str, seed: int, unassigned: Unassigned | None = None) -> dataset.SplitPolicy:
    """The policy that people write as `70/20/10` or `official`.

    Raises:
        InvalidArgument: it is neither.
    """
    if text == "official":
        return dataset.SplitPolicy(method=dataset.SplitPolicy.METHOD_OFFICIAL, unassigned=unassigned or "")
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts) or sum(map(int, parts)) != 100:
        raise InvalidArgument(
            f"{text!r} is no split",
            hint="give percents of train/val/test that sum to 100, such as 70/20/10, or official",
        )
    train, val, test = map(int, parts)
    return dataset.SplitPolicy(
        method=dataset.SplitPolicy.METHOD_RATIO,
        train_percent=train,
        val_percent=val,
        test_percent=test,
        seed=seed,
        unassigned=unassigned or "",
    )
