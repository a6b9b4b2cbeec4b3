import asyncio

import pytest

from bloomery_kit.database import Database
from bloomery_kit.sequences import current, next_sequence


async def take(db: Database, key: str, count: int = 1) -> int:
    async with db.write() as tx:
        return await next_sequence(tx, key, count)


async def test_numbers_start_at_one_and_ranges_do_not_overlap(db: Database) -> None:
    assert [await take(db, "a", count) for count in (1, 5, 1)] == [1, 2, 7]


async def test_keys_count_apart(db: Database) -> None:
    assert (await take(db, "a"), await take(db, "b")) == (1, 1)


async def test_the_current_number_is_the_last_taken(db: Database) -> None:
    async with db.read() as tx:
        assert await current(tx, "a") == 0
    await take(db, "a", 3)
    async with db.read() as tx:
        assert await current(tx, "a") == 3


async def test_a_rolled_back_number_is_taken_again(db: Database) -> None:
    async def fail() -> None:
        async with db.write() as tx:
            await next_sequence(tx, "a")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await take(db, "a") == 1


async def test_numbers_taken_at_once_are_all_different_from_the_first_on(db: Database) -> None:
    taken = await asyncio.gather(*(take(db, "a") for _ in range(30)))
    assert sorted(taken) == [*range(1, 31)]


async def test_a_number_becomes_visible_only_after_all_smaller_ones(db: Database) -> None:
    """The second writer cannot overtake: it waits for the first one's row."""
    first_took, order = asyncio.Event(), list[int]()

    async def first() -> None:
        async with db.write() as tx:
            number = await next_sequence(tx, "a")
            first_took.set()
            await asyncio.sleep(0.1)
        order.append(number)

    async def second() -> None:
        await first_took.wait()
        order.append(await take(db, "a"))

    await asyncio.gather(first(), second())
    assert order == [1, 2]


async def test_a_range_has_at_least_one_number(db: Database) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await take(db, "a", 0)
