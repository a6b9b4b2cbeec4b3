"""Passes of background loops in which one item's work meets an error that nobody expected."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from bloomery_kit.loops import Loops


class ForeignError(Exception):
    """Nobody expects it."""


@dataclass(frozen=True)
class Work:
    """What a pass does with each of its items: the function `name` of `owner`, and which item it is called for."""

    owner: Any
    name: str
    item: Callable[..., Hashable]


def each(works: Mapping[str, Sequence[Work]]) -> pytest.MarkDecorator:
    """Try every work of every pass."""
    cases = [(loop, work) for loop, several in works.items() for work in several]
    return pytest.mark.parametrize(("loop", "work"), cases, ids=[f"{loop}, {work.name}" for loop, work in cases])


def fail_first(monkeypatch: pytest.MonkeyPatch, work: Work) -> set[Hashable]:
    """Let a work throw whenever it is for the item that it meets first; the items that it was done for."""
    real, failing, done = getattr(work.owner, work.name), list[Hashable](), set[Hashable]()

    async def fail_or_do(*given: Any, **named: Any) -> Any:
        item = work.item(*given, **named)
        failing[:] = failing or [item]
        if item == failing[0]:
            raise ForeignError
        answer = await real(*given, **named)
        done.add(item)
        return answer

    monkeypatch.setattr(work.owner, work.name, fail_or_do)
    return done


def fail_step(monkeypatch: pytest.MonkeyPatch, steps: Sequence[tuple[Any, str]], failing: str) -> set[str]:
    """Let one of the steps of a pass throw; those of the others that are done."""
    done = set[str]()
    for owner, name in steps:
        monkeypatch.setattr(owner, name, _step(name, getattr(owner, name), None if name == failing else done))
    return done


def _step(name: str, real: Callable[..., Any], done: set[str] | None) -> Callable[..., Any]:
    async def do(*given: Any, **named: Any) -> Any:
        if done is None:
            raise ForeignError
        answer = await real(*given, **named)
        done.add(name)
        return answer

    return do


async def turns(loops: Loops, name: str, count: int = 2) -> None:
    """Some turns of a loop that is not running, without the pauses; errors end none but the turn that meets them."""
    (work,) = (loop.work for loop in loops._loops if loop.name == name)
    for _ in range(count):
        with suppress(ForeignError):
            await work()
