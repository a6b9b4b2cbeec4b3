import asyncio

import pytest

from bloomery_kit import leases
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import to_status
from bloomery_kit.leases import Lease, LeaseLost

TERM = 60.0


async def take(db: Database, holder: str, term: float = TERM, name: str = "work") -> Lease | None:
    async with db.write() as tx:
        return await leases.take(tx, name, holder, term)


async def taken(db: Database, holder: str, term: float = TERM, name: str = "work") -> Lease:
    lease = await take(db, holder, term, name)
    assert lease is not None
    return lease


async def test_one_of_many_takers_gets_the_lease(db: Database) -> None:
    answers = await asyncio.gather(*(take(db, f"replica-{number}") for number in range(5)))
    assert sum(answer is not None for answer in answers) == 1


async def test_a_lease_that_ran_out_goes_to_the_next_who_fences_the_former(db: Database) -> None:
    former = await taken(db, "a", term=0.01)
    await asyncio.sleep(0.05)
    latter = await taken(db, "b")
    assert latter.epoch == former.epoch + 1
    async with db.write() as tx:
        await leases.fence(tx, latter)
        for lost in (leases.fence(tx, former), leases.renew(tx, former, TERM)):
            with pytest.raises(LeaseLost) as caught:
                await lost
            assert caught.value.reason == "FENCED"


async def test_what_a_fenced_holder_wrote_is_rolled_back(db: Database) -> None:
    former = await taken(db, "a", term=0.01)
    await asyncio.sleep(0.05)
    await taken(db, "b")

    async def write_too_late() -> None:
        async with db.write() as tx:
            await leases.take(tx, "written by the former holder", "a", TERM)
            await leases.fence(tx, former)

    with pytest.raises(LeaseLost):
        await write_too_late()
    async with db.read() as tx:
        assert await leases.held(tx, "written", TERM) == set()


# SQLite has one writer at a time.
@pytest.mark.real_server
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_nobody_takes_a_lease_between_a_fence_and_the_end_of_its_transaction(db: Database) -> None:
    lease = await taken(db, "a", term=0.3)
    order = []

    async def steal() -> None:
        await asyncio.sleep(0.05)
        while await take(db, "b") is None:  # noqa: ASYNC110 - nobody tells when a lease runs out
            await asyncio.sleep(0.02)
        order.append("taken")

    async with db.write() as tx:
        await leases.fence(tx, lease)
        thief = asyncio.create_task(steal())
        await asyncio.sleep(0.6)
        order.append("committed")
    await thief
    assert order == ["committed", "taken"]


async def test_a_renewed_lease_lasts(db: Database) -> None:
    lease = await taken(db, "a", term=0.05)
    async with db.write() as tx:
        await leases.renew(tx, lease, TERM)
    await asyncio.sleep(0.1)
    assert await take(db, "b") is None


async def test_a_lease_that_was_given_up_is_free_at_once(db: Database) -> None:
    lease = await taken(db, "a")
    async with db.write() as tx:
        await leases.give_up(tx, lease)
        with pytest.raises(LeaseLost):
            await leases.fence(tx, lease)
    assert (await taken(db, "b")).epoch == lease.epoch + 1


async def test_giving_up_what_was_lost_leaves_the_new_holder_alone(db: Database) -> None:
    former = await taken(db, "a", term=0.01)
    await asyncio.sleep(0.05)
    latter = await taken(db, "b")
    async with db.write() as tx:
        await leases.give_up(tx, former)
        await leases.fence(tx, latter)


async def test_a_clock_that_was_set_back_does_not_keep_a_lease_for_ever(db: Database) -> None:
    await taken(db, "a", term=3600)
    assert await take(db, "b", term=1000) is None
    async with db.read() as tx:
        assert await leases.held(tx, "work", term=1000) == {"work"}
        assert await leases.held(tx, "work", term=10) == set()
    assert await take(db, "b", term=10) is not None


async def test_the_owner_of_the_file_frees_every_lease(db: Database) -> None:
    lease = await taken(db, "a")
    async with db.write() as tx:
        await leases.free_all(tx)
    assert (await taken(db, "b")).epoch == lease.epoch + 1


async def test_only_leases_that_count_are_listed(db: Database) -> None:
    await taken(db, "a", name="builds/1")
    await taken(db, "a", term=0.01, name="builds/2")
    given_up = await taken(db, "a", name="builds/3")
    await taken(db, "a", name="buildsX4")
    await asyncio.sleep(0.05)

    async def change(tx: Transaction) -> set[str]:
        await leases.give_up(tx, given_up)
        return await leases.held(tx, "builds/", TERM)

    async with db.write() as tx:
        assert await change(tx) == {"builds/1"}
        await leases.forget(tx, "builds/1")
        assert await leases.held(tx, "builds/", TERM) == set()
        await leases.forget_all(tx, "builds/")
        assert await leases.held(tx, "builds", TERM) == {"buildsX4"}
        assert await leases.take(tx, "builds/3", "b", TERM) == Lease("builds/3", 1)


def test_a_lost_lease_is_told_as_aborted() -> None:
    assert to_status(LeaseLost("work")).code == 10
