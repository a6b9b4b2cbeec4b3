"""A page costs the same wherever it is and however much there is, counted in the database's own instructions."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import JobEvent, ListJobEventsResponse
from bloomery_kit.times import utc_now
from bloomery_trainer.model import Kind, State, Success
from bloomery_trainer.store import attempts, events, jobs, results, tables
from bloomery_trainer.store.jobs import Filter
from tests.databases import steps
from tests.trainer.hand import Hand
from tests.trainer.moves import cancel
from tests.trainer.test_scale import multiply

MANY = 5000
PROJECT = "projects/cells"
# A page of 50 rows takes some 2,000 instructions, a look at every row of 5,000 at least 30,000.
HUNDREDS = 40
FILTERS = {
    "nothing": Filter(),
    "the project": Filter(project=PROJECT),
    "a state of work": Filter(project=PROJECT, state=State.RUNNING),
    "a last state": Filter(project=PROJECT, state=State.FAILED),
    "what is active": Filter(active=True),
    "a kind": Filter(project=PROJECT, kind=Kind.EVALUATE),
    "an id": Filter(project=PROJECT, job_id="copy-7"),
    "a group": Filter(project=PROJECT, group="other"),
    "a model": Filter(project=PROJECT, model="other"),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_jobs_by(hand: Hand, name: str) -> None:
    job = await hand.trainer.create()
    await cancel(hand, job)
    await multiply(hand, job.uid, MANY)
    async with hand.core.db.read() as tx:
        for before in (None, 1100, MANY):
            assert await steps(tx, jobs.listed(tx, FILTERS[name], before=before, limit=50)) <= HUNDREDS


async def test_what_the_leader_looks_for_again_and_again(hand: Hand) -> None:
    job = await hand.trainer.create()
    await cancel(hand, job)
    await multiply(hand, job.uid, MANY)
    long_ago = utc_now() - timedelta(days=1)
    async with hand.core.db.read() as tx:
        for look in (
            attempts.active(tx),
            jobs.waiting(tx, 0, 500),
            jobs.deleted(tx, utc_now(), 0, 100),
            jobs.finished_before(tx, long_ago, None, 100),
            jobs.count_by_state(tx),
            jobs.count_pending(tx, PROJECT),
        ):
            assert await steps(tx, look) <= HUNDREDS


async def test_events(hand: Hand) -> None:
    row = {"job_uid": "u", "kinds": 2, "level": 0, "create_time": utc_now()}
    batches = [ListJobEventsResponse(events=[JobEvent(sequence=number)]) for number in range(1, MANY)]
    rows = [
        row | {"first": number, "last": number, "batch": batch.SerializeToString()}
        for number, batch in enumerate(batches, 1)
    ]
    async with hand.core.db.write() as tx:
        await tx.execute(sa.insert(tables.events), rows)
    async with hand.core.db.read() as tx:
        for after in (0, 2500, MANY - 10):
            assert await steps(tx, events.read(tx, "u", after, rows=50)) <= HUNDREDS
        last = events.read_last(tx, "u", before=2500, rows=50, content=events.Content.METRICS)
        assert await steps(tx, last) <= HUNDREDS


async def test_the_feed_of_results(hand: Hand) -> None:
    made = {"success": Success((), {}, {}, {}), "create_time": utc_now()}
    rows = [made | {"sequence": number, "job_uid": f"u{number}"} for number in range(1, MANY)]
    async with hand.core.db.write() as tx:
        await tx.execute(sa.insert(tables.results), rows)
    async with hand.core.db.read() as tx:
        for after in (0, 2500, MANY - 10):
            assert await steps(tx, results.after(tx, after, 50)) <= HUNDREDS
