"""When a call is tried again, how soon, and when no more."""

import pytest

from bloomery_worker.retrying import Policy, again, at_most


class Troubled:
    """A call that fails as the script says, on a clock that moves by the pauses."""

    def __init__(self, *problems: Exception) -> None:
        self._problems = iter(problems)
        self.now = 0.0
        self.pauses: list[float] = []

    async def __call__(self) -> str:
        for problem in self._problems:
            raise problem
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def again(self, policy: Policy) -> str:
        return await again(self, passes, policy, sleep=self.sleep, clock=lambda: self.now)


def passes(problem: Exception) -> bool:
    return isinstance(problem, ConnectionError)


async def test_pauses_grow_to_the_longest_and_are_spread() -> None:
    call = Troubled(*[ConnectionError()] * 6)
    assert await call.again(Policy(first=1.0, longest=8.0)) == "done"
    for pause, most in zip(call.pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= pause <= most
    assert len(set(call.pauses)) == 6


async def test_what_will_not_pass_is_raised_at_once() -> None:
    call = Troubled(ConnectionError(), ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await call.again(Policy())
    assert len(call.pauses) == 1


async def test_patience_ends_with_the_last_problem() -> None:
    call = Troubled(*(ConnectionError(str(number)) for number in range(1000)))
    with pytest.raises(ConnectionError):
        await call.again(Policy(patience=60.0, first=0.5, longest=10.0))
    assert 45 < call.now <= 60


def test_one_kind_of_problem_counts_apart_from_others() -> None:
    worth = at_most(2, lambda problem: isinstance(problem, ValueError), passes)
    problems = [ValueError(), ConnectionError(), ConnectionError(), ValueError(), ConnectionError(), KeyError()]
    assert [worth(problem) for problem in problems] == [True, True, True, False, True, False]
