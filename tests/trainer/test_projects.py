"""A job keeps its project from being deleted, so that none shows in another project of the same id."""

from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import DeleteJobRequest, Job, ListJobsRequest
from bloomery_kit.database import Transaction
from bloomery_trainer.holding import hold_project
from bloomery_trainer.model import Job as Stored
from bloomery_trainer.store import jobs
from bloomery_trainer.store.tables import jobs as rows
from tests.trainer.bench import reason_of
from tests.trainer.hand import Hand
from tests.trainer.moves import cancel, state
from tests.trainer.neighbours import Annotation
from tests.trainer.test_holding import works_on_weights

OTHER = "b" * 32


@pytest.fixture
def projects(hand: Hand) -> Annotation:
    return hand.trainer.world.annotation


async def listed(hand: Hand) -> list[str]:
    return [job.name for job in (await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/cells"))).jobs]


async def tidy(hand: Hand) -> None:
    """What is done now and then."""
    hand.follow_clock()
    hand.clock.seconds += 61
    await hand.run_pass()


async def made_unheld(hand: Hand, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Job:
    """A job whose creation is cut off before it holds anything."""
    with monkeypatch.context() as patch:

        async def cut_off(_self: object, _uid: str) -> None:
            pass

        patch.setattr("bloomery_trainer.creation.Creation.claim_inputs", cut_off)
        return await hand.trainer.create(**fields)


async def test_a_job_holds_its_project_until_it_is_deleted(hand: Hand, projects: Annotation) -> None:
    job = await works_on_weights(hand)
    holder = f"projects/cells/jobs/{job.uid}"
    assert (projects.holders, projects.titles[holder]) == ({holder}, f"jobs/{job.name.rpartition('/')[2]}")
    await cancel(hand, job)
    await hand.settle(1)
    assert projects.holders == {holder}
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.settle(1)
    assert projects.holders == set()


async def test_a_job_made_while_its_project_is_deleted_is_refused(
    hand: Hand, projects: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = jobs.insert

    async def late(tx: Transaction, job: Stored) -> Stored:
        projects.uid = OTHER
        return await insert(tx, job)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "insert", late)
        assert await reason_of(hand.trainer.create(job_id="nightly", request_id="r")) == "NOT_FOUND"
    assert await listed(hand) == []
    repeated = await hand.trainer.create(job_id="nightly", request_id="r")
    assert repeated.project_uid == OTHER, "a repeat is for the project that there is now"


async def test_a_job_does_not_start_before_it_holds_its_project(hand: Hand, projects: Annotation) -> None:
    projects.down = True
    job = await hand.trainer.create()
    await hand.settle(2)
    assert (await state(hand, job), hand.launcher.orders) == ("PENDING", [])
    projects.down = False
    await hand.settle(2)
    assert (len(projects.holders), len(hand.launcher.orders)) == (1, 1)


async def test_a_job_whose_creation_was_cut_off_goes_after_its_project(
    hand: Hand, projects: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made_unheld(hand, monkeypatch, job_id="nightly")
    projects.uid = OTHER
    await hand.settle(1)
    assert await listed(hand) == []
    await hand.trainer.create(job_id="nightly")


async def test_a_job_that_ended_before_it_held_its_project_holds_it_soon(
    hand: Hand, projects: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await made_unheld(hand, monkeypatch)
    await cancel(hand, job)
    projects.down = True
    await tidy(hand)
    assert not projects.holders
    projects.down = False
    for _ in range(2):
        await tidy(hand)
    assert projects.holders == {f"projects/cells/jobs/{job.uid}"}


async def test_a_job_that_ended_before_it_held_its_project_goes_after_it(
    hand: Hand, projects: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await made_unheld(hand, monkeypatch)
    await cancel(hand, job)
    projects.uid = OTHER
    await tidy(hand)
    assert (await listed(hand), projects.holders) == ([], set())


async def test_a_job_that_holds_its_data_stays_whatever_is_said_of_its_project(
    hand: Hand, projects: Annotation
) -> None:
    job = await hand.trainer.create()
    await cancel(hand, job)
    async with hand.core.db.write() as tx:
        await tx.execute(sa.update(rows).values(project_held=False))
    projects.uid = OTHER
    await tidy(hand)
    assert await listed(hand) == [job.name]


async def test_a_hold_that_comes_after_the_burial_is_given_back(
    hand: Hand, projects: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await made_unheld(hand, monkeypatch)
    async with hand.core.db.read() as tx:
        seen = await jobs.find(tx, job.uid)
    assert seen is not None
    await cancel(hand, job)
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.settle(1)
    await hold_project(hand.core, seen)
    assert projects.holders, "nothing is left to be given back, so this test shows nothing"
    await hand.bury()
    assert not projects.holders
    await hold_project(hand.core, seen)
    assert not projects.holders
