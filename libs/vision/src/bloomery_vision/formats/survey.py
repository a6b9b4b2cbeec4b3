"""Looking into some of many files."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
SAMPLE = 1000
"""Label files that are opened to find out how all of a set are written; sets up to this size are looked at whole."""


def sample(items: Sequence[T], size: int = SAMPLE) -> Sequence[T]:
    """At most `size` of the items, evenly over all of them, and the same ones each time."""
    return items if len(items) <= size else [items[index * len(items) // size] for index in range(size)]
