"""What one job, stray, log or upload meets holds up no other, and no step of the housekeeping another."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import CancelJobRequest, DeleteJobRequest
from bloomery_trainer import housekeeping, reconcile
from bloomery_trainer.carry_out import Hands
from bloomery_trainer.housekeeping import Housekeeping
from bloomery_trainer.launcher import Launched, Phase
from bloomery_trainer.store import events, inputs, jobs
from bloomery_trainer.store.tables import jobs as rows
from tests.passes import ForeignError, Work, each, fail_first, fail_step
from tests.trainer.hand import Hand

WORKS = {
    reconcile.LOOP: [
        Work(Hands, "carry_out", lambda _, facts, _action: facts.job.uid),
        Work(Hands, "clear_away", lambda _, stray: stray.job_uid),
    ],
    housekeeping.LOOP: [
        Work(Housekeeping, "_bury", lambda _, _lease, job: job.uid),
        Work(housekeeping, "hold_project", lambda _core, job: job.uid),
        Work(events, "drop", lambda _tx, uid, **_: uid),
        Work(inputs, "drop", lambda _tx, unused: unused.digest),
    ],
}
STEPS: list[tuple[Any, str]] = [
    (housekeeping, "forget_requests"),
    (jobs, "finished_before"),
    (inputs, "unused_since"),
    (jobs, "unheld"),
    (jobs, "count_by_state"),
    (jobs, "deleted"),
]


async def later(hand: Hand, passes: int = 2) -> None:
    """Passes, minutes apart, after all that is kept for a time is old."""
    hand.clock.shift += timedelta(days=99)
    hand.follow_clock()
    for _ in range(passes):
        hand.clock.shift += timedelta(minutes=2)
        with suppress(ForeignError):
            await hand.run_pass()


@each(WORKS)
async def test_one_items_trouble_holds_up_no_other(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, loop: str, work: Work
) -> None:
    made = [await hand.trainer.create() for _ in range(2)]
    hand.launcher.things |= {(uid, 1): Launched(uid, 1, Phase.ENDED) for uid in ("stray-1", "stray-2")}
    if loop == housekeeping.LOOP:
        for job in made:
            await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
            if work.name == "_bury":
                await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
        async with hand.core.db.write() as tx:
            await tx.execute(sa.update(rows).values(project_held=False))
            for number in range(2):
                await inputs.keep(tx, "p" * 32, f"sha256:{number:064}", hand.core.clock())
    done = fail_first(monkeypatch, work)
    await later(hand)
    assert len(done) == 1


@pytest.mark.parametrize("step", [name for _, name in STEPS])
async def test_a_step_of_the_housekeeping_that_fails_keeps_no_other_from_being_done(
    hand: Hand, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    done = fail_step(monkeypatch, STEPS, step)
    await later(hand)
    assert done == {name for _, name in STEPS} - {step}
