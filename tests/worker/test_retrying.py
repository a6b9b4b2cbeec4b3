"""When a call is tried again, how soon, and when no more."""

import pytest

from bloomery_worker.retrying import Policy, Worth, again, at_most, for_a_while


class Troubled:
    """A call that fails as the script says, on a clock that moves by the pauses and by what each call takes."""

    def __init__(self, *problems: Exception, seconds: float = 0.0) -> None:
        self._problems = iter(problems)
        self._seconds = seconds
        self.now = 0.0
        self.pauses: list[float] = []

    async def __call__(self) -> str:
        self.now += self._seconds
        for problem in self._problems:
            raise problem
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def again(self, policy: Policy, *, worth: Worth | None = None, further: bool = False) -> str:
        return await again(
            self, worth or passes, policy, further=lambda: further, sleep=self.sleep, clock=lambda: self.now
        )


def passes(problem: Exception) -> bool:
    return isinstance(problem, ConnectionError)


async def test_pauses_grow_to_the_longest_and_are_spread() -> None:
    call = Troubled(*[ConnectionError()] * 6)
    assert await call.again(Policy(first=1.0, longest=8.0)) == "done"
    for pause, most in zip(call.pauses, (1, 2, 4, 8, 8, 8), strict=True):
        assert most / 2 <= pause <= most
    assert len(set(call.pauses)) == 6


async def test_work_is_no_waiting_so_that_the_first_failure_after_much_of_it_costs_nothing() -> None:
    call = Troubled(ConnectionError(), seconds=2580.0)
    assert await call.again(Policy(patience=1800.0)) == "done"


@pytest.mark.parametrize("further", [True, False])
async def test_patience_begins_anew_where_a_call_got_further(further: bool) -> None:
    call = Troubled(*[ConnectionError()] * 8, seconds=500.0)
    trying = call.again(Policy(patience=1800.0, first=1.0), further=further)
    if further:
        assert await trying == "done"
        assert all(pause <= 1.0 for pause in call.pauses), "and so do the pauses"
    else:
        with pytest.raises(ConnectionError):
            await trying


async def test_one_kind_of_problem_may_last_for_a_while_and_no_longer() -> None:
    def worth(call: Troubled) -> Worth:
        return for_a_while(60.0, lambda problem: isinstance(problem, ValueError), passes, clock=lambda: call.now)

    short = Troubled(*[ValueError()] * 8)
    assert await short.again(Policy(), worth=worth(short)) == "done"
    assert short.now > 10
    broken = Troubled(*[ValueError()] * 8, *[ConnectionError()] * 8, *[ValueError()] * 5)
    assert await broken.again(Policy(), worth=worth(broken)) == "done"
    assert broken.now > 60
    long = Troubled(*[ValueError("certificate")] * 100)
    with pytest.raises(ValueError, match="certificate"):
        await long.again(Policy(), worth=worth(long))
    assert 60 <= long.now < 80


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
