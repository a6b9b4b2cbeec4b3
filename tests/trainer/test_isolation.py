"""What goes wrong with one job, in a way that nobody expected, is no trouble of the others."""

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from google.protobuf.message import DecodeError

from bloomery.training.v1 import DeleteJobRequest, Job, JobEvent, WatchJobRequest
from bloomery_kit.database import Transaction
from bloomery_kit.errors import Unavailable
from bloomery_kit.leases import LeaseLost
from bloomery_kit.loops import FAILURES
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.store import attempts, events, jobs
from bloomery_trainer.store.tables import jobs as rows
from tests.trainer.bench import feeding
from tests.trainer.hand import Hand, log
from tests.trainer.moves import cancel, state


class Odd(Exception):  # noqa: N818
    """What no code of this repository knows."""


def failures(loop: str) -> float:
    return float(FAILURES.labels(loop)._value.get())


async def deleted(hand: Hand, count: int) -> list[Job]:
    """Jobs that were at work, and are to be buried."""
    found = [(await hand.running())[0] for _ in range(count)]
    for job in found:
        await cancel(hand, job, force=True)
    await hand.reconcile(3)
    for job in found:
        await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    return found


async def unburied(hand: Hand) -> list[str]:
    async with hand.core.db.read() as tx:
        return list(await tx.scalars(sa.select(rows.c.uid).where(rows.c.deleted)))


@pytest.fixture
def unlistable(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> Callable[[Job], None]:
    """Makes the objects of a job such that they cannot be listed."""
    listing, bad = hand.core.objects.list, set[str]()

    def listed(prefix: str = "") -> object:
        if any(uid in prefix for uid in bad):
            raise Odd("a folder where a file should be")
        return listing(prefix)

    monkeypatch.setattr(hand.core.objects, "list", listed)
    return lambda job: bad.add(job.uid)


async def test_a_launch_that_fails_oddly_holds_up_no_other_job(hand: Hand) -> None:
    bad, good = await hand.trainer.create(), await hand.trainer.create()
    hand.launcher.faults["launch", bad.uid] = Odd("no such key")
    before = failures("reconcile")
    await hand.settle(3)
    assert (await state(hand, bad), await state(hand, good)) == ("QUEUED", "PREPARING")
    assert failures("reconcile") == before + 3


async def test_a_stop_that_fails_oddly_holds_up_no_other_job(hand: Hand) -> None:
    bad, _ = await hand.running()
    good, _ = await hand.running()
    hand.launcher.faults["stop", bad.uid] = PermissionError("not yours")
    for job in (bad, good):
        await cancel(hand, job, force=True)
    await hand.settle(3)
    assert (await state(hand, bad), await state(hand, good)) == ("CANCELLING", "CANCELLED")


async def test_a_job_whose_attempt_is_lost_holds_up_no_other_job(hand: Hand) -> None:
    bad, _ = await hand.running()
    async with hand.core.db.write() as tx:
        await attempts.drop_all(tx, bad.uid)
    good = await hand.trainer.create()
    await hand.settle(3)
    assert await state(hand, good) == "PREPARING"


async def test_a_stray_that_cannot_be_removed_holds_up_no_other(hand: Hand) -> None:
    for uid in ("stray-1", "stray-2"):
        hand.launcher.things[uid, 1] = Launched(uid, 1, Phase.ENDED)
    hand.launcher.faults["remove", "stray-1"] = OSError("device or resource busy")
    await hand.settle(1)
    assert list(hand.launcher.things) == [("stray-1", 1)]


async def test_a_burial_that_fails_oddly_holds_up_no_other(hand: Hand, unlistable: Callable[[Job], None]) -> None:
    bad, _ = await deleted(hand, 2)
    unlistable(bad)
    await hand.bury()
    assert await unburied(hand) == [bad.uid]


async def test_many_burials_that_fail_do_not_starve_the_next(
    hand: Hand, unlistable: Callable[[Job], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_trainer.housekeeping._AT_ONCE", 2)
    *bad, _ = await deleted(hand, 3)
    for job in bad:
        unlistable(job)
    await hand.bury(2)
    assert await unburied(hand) == [job.uid for job in bad]


async def test_a_lost_lease_is_nobodys_own_trouble(hand: Hand) -> None:
    jobs_at_work = [await hand.running() for _ in range(2)]
    for job, _ in jobs_at_work:
        await cancel(hand, job, force=True)
    hand.launcher.faults["stop", jobs_at_work[0][0].uid] = LeaseLost("reconciler")
    with pytest.raises(LeaseLost):
        await hand.settle(1)
    assert hand.launcher.stops == []


async def test_the_event_feed_survives_an_odd_error_and_loses_nothing(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, worker = await hand.running()
    reading, faults, looked = jobs.heads, list[Exception](), asyncio.Event()

    async def heads(tx: Transaction, uids: list[str]) -> dict[str, int]:
        looked.set()
        if faults:
            raise faults.pop()
        return await reading(tx, uids)

    monkeypatch.setattr(jobs, "heads", heads)
    hand.core.feed.poll = None
    before = failures("event-feed")
    async with feeding(hand.core):
        messages = aiter(hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name, after_sequence=job.last_sequence)))
        await anext(messages)
        await looked.wait()
        # From here on one commit is all that wakes the feed.
        faults += [Odd("cancelled by the administrator"), Unavailable("DOWN", "not now")]
        await worker.report(log("live"))
        assert (await asyncio.wait_for(anext(messages), 5)).event.log.message == "live"
    assert failures("event-feed") == before + 2


async def test_a_log_that_cannot_be_read_silences_no_watch_of_another_job(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, bad_worker = await hand.running()
    good, good_worker = await hand.running()
    reading = events.read

    async def read(tx: Transaction, job_uid: str, after: int, **options: int) -> list[JobEvent]:
        if job_uid == bad.uid and after >= bad.last_sequence:
            raise DecodeError("not a message")
        return list(await reading(tx, job_uid, after, **options))  # type: ignore[arg-type]

    monkeypatch.setattr(events, "read", read)
    async with feeding(hand.core):
        calls = [
            hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name, after_sequence=job.last_sequence))
            for job in (bad, good)
        ]
        _, messages = streams = [aiter(call) for call in calls]
        for stream in streams:
            await anext(stream)
        for worker in (bad_worker, good_worker):
            await worker.report(log("live"))
        assert (await asyncio.wait_for(anext(messages), 10)).event.log.message == "live"
        for call in calls:
            call.cancel()
