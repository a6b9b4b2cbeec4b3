"""A cancellation races the worker's last word hundreds of times while the reconciler looks on; on both databases.

BLOOMERY_TRIALS=1000 for more; `make soak` does that.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import sqlalchemy as sa

from bloomery.training.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_SUCCEEDED,
    AttemptSuccess,
    CancelJobRequest,
    FinishAttemptRequest,
)
from bloomery_trainer.core import hashed
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.model import Outcome, State
from bloomery_trainer.store import events
from bloomery_trainer.store.tables import artifacts, attempts, jobs, results
from tests import databases
from tests.trainer.bench import World
from tests.trainer.hand import Hand, by_hand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bloomery_kit.database import Transaction

TRIALS = int(os.environ.get("BLOOMERY_TRIALS", "200"))
AT_ONCE, SEED = 50, 25
# Seconds from one twin to the next, and between the two calls of one.
PACE = 0.02
ENDS = {JOB_STATE_SUCCEEDED, JOB_STATE_CANCELLED}


@dataclass(frozen=True)
class Twin:
    """A copy of a job whose worker has uploaded everything and is about to say so."""

    uid: str
    name: str
    secret: str


@pytest.fixture(params=databases.BOTH)
def database_url(world: World, request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{world.folder}/training.db"
    url: str = request.getfixturevalue("migrated_postgres_url")
    return url


@pytest.fixture
async def hand(world: World, database_url: str) -> AsyncIterator[Hand]:
    async with by_hand(world, database_url=database_url) as hand:
        yield hand


@pytest.mark.timeout(300)
async def test_a_cancellation_that_races_completion_ends_in_one_state(hand: Hand) -> None:
    dice = random.Random(SEED)
    job, worker = await hand.running()
    success = await worker.success(hand.core)
    ended: Counter[State] = Counter()
    for start in range(0, TRIALS, AT_ONCE):
        twins = await multiply(hand, job.uid, range(start, start + AT_ONCE))
        await asyncio.gather(*(race(hand, twin, success, dice) for twin in twins), hand.run_pass())
        for twin in twins:
            hand.launcher.ends(0, attempt=1, job_uid=twin.uid)
        await hand.settle(2)
        ended.update([await end_of(hand, twin) for twin in twins])
    print(f"seed {SEED}: {dict(ended)}")
    assert set(ended) == {State.SUCCEEDED, State.CANCELLED}, "one side always won: nothing raced"


async def multiply(hand: Hand, uid: str, indices: range) -> list[Twin]:
    """Write a running job down once more for each index, with a worker of its own."""
    twins = [Twin(f"twin-{index}", f"projects/cells/jobs/twin-{index}", f"secret-{index}") for index in indices]
    async with hand.core.db.write() as tx:
        job, attempt, artifact = [
            dict((await tx.execute(sa.select(table).where(key == uid))).mappings().one())
            for table, key in ((jobs, jobs.c.uid), (attempts, attempts.c.job_uid), (artifacts, artifacts.c.job_uid))
        ]
        for number, twin in enumerate(twins, job["number"] + 1 + indices.start):
            await _insert(tx, jobs, job, uid=twin.uid, job_id=twin.uid, number=number, last_sequence=0)
            secrets = {"secret_hash": hashed(twin.secret), "token_hash": hashed(twin.uid)}
            await _insert(tx, attempts, attempt, job_uid=twin.uid, **secrets)
            await _insert(tx, artifacts, artifact, job_uid=twin.uid)
            hand.launcher.things[twin.uid, 1] = Launched(twin.uid, 1, Phase.RUNNING)
    return twins


async def _insert(tx: Transaction, table: sa.Table, row: dict[str, Any], **changes: object) -> None:
    await tx.execute(sa.insert(table).values(**row | changes))


async def race(hand: Hand, twin: Twin, success: AttemptSuccess, dice: random.Random) -> None:
    """Both at nearly the same time, in either order; a refusal is one of the answers."""
    cancel = CancelJobRequest(name=twin.name, force=dice.random() < 0.3)
    finish = FinishAttemptRequest(success=success)
    metadata = (("authorization", f"Bearer {twin.secret}"),)
    # The twins one after the other, or the calls of one kind would all wait behind those of the other.
    start = dice.uniform(0, AT_ONCE * PACE)
    calls = [
        _after(start + dice.uniform(0, PACE), lambda: hand.trainer.jobs.CancelJob(cancel)),
        _after(start + dice.uniform(0, PACE), lambda: hand.trainer.workers.FinishAttempt(finish, metadata=metadata)),
    ]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(answer, BaseException):
            assert isinstance(answer, grpc.aio.AioRpcError), answer
            assert answer.code() is grpc.StatusCode.ABORTED, answer


async def _after(seconds: float, call: Callable[[], Awaitable[object]]) -> None:
    """Call, and call again while the database is too busy, as people's clients and workers do."""
    await asyncio.sleep(seconds)
    while True:
        try:
            await call()
            return
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        await asyncio.sleep(PACE)


async def end_of(hand: Hand, twin: Twin) -> State:
    """The state that a job ended in, once everything that tells of it says the same."""
    async with hand.core.db.read() as tx:
        state: State = (await tx.execute(sa.select(jobs.c.state).where(jobs.c.uid == twin.uid))).scalar_one()
        outcome: Outcome | None = (
            await tx.execute(sa.select(attempts.c.outcome).where(attempts.c.job_uid == twin.uid))
        ).scalar_one()
        count = sa.select(sa.func.count()).select_from(results).where(results.c.job_uid == twin.uid)
        kept = (await tx.execute(count)).scalar_one()
        told = await events.read(tx, twin.uid, after=0, rows=100)
    succeeded = state is State.SUCCEEDED
    assert kept == (1 if succeeded else 0), f"{twin.uid} is {state!r} with {kept} results"
    assert (outcome is Outcome.SUCCESS) == succeeded, f"{twin.uid} is {state!r} after {outcome!r}"
    assert sum(event.state_changed.to_state in ENDS for event in told) == 1
    return state
