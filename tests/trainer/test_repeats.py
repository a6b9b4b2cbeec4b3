"""A repeated create gets the first answer, whatever has become of the world since."""

from collections.abc import AsyncIterator, Callable

import pytest

from bloomery.training.v1 import CancelJobRequest, DeleteJobRequest, Job, JobState
from bloomery_trainer.recipes import Catalogue
from tests.trainer.bench import World, reason_of
from tests.trainer.hand import Hand, by_hand
from tests.trainer.moves import cancel
from tests.trainer.neighbours import DATASET

Change = Callable[[Hand], None]


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    async with by_hand(world, max_pending_per_project=1, min_free_bytes=1000) as hand:
        yield hand


def fills_the_disk(hand: Hand) -> None:
    hand.launcher.free = 1


def deletes_the_dataset(hand: Hand) -> None:
    del hand.trainer.world.datasets.versions[DATASET]


def removes_the_recipe(hand: Hand) -> None:
    object.__setattr__(hand.core, "catalogue", Catalogue([]))


def changes_nothing_but_the_queue(_: Hand) -> None:
    """One job waits by now, as many as may."""


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (fills_the_disk, "TOO_MANY_JOBS"),
        (deletes_the_dataset, "INVALID_ARGUMENT"),
        (removes_the_recipe, "INVALID_ARGUMENT"),
        (changes_nothing_but_the_queue, "TOO_MANY_JOBS"),
    ],
)
async def test_an_accepted_create_is_never_refused_later(hand: Hand, change: Change, refusal: str) -> None:
    first = await hand.trainer.create(request_id="r")
    change(hand)
    assert await hand.trainer.create(request_id="r") == first
    assert await reason_of(hand.trainer.create(request_id="another")) == refusal


async def test_a_create_that_was_refused_may_succeed_when_it_is_repeated(hand: Hand) -> None:
    waiting = await hand.trainer.create()
    assert await reason_of(hand.trainer.create(request_id="r")) == "TOO_MANY_JOBS"
    await cancel(hand, waiting)
    assert (await hand.trainer.create(request_id="r")).uid != waiting.uid


async def test_a_repeat_answers_after_the_job_is_gone(hand: Hand) -> None:
    first = await hand.trainer.create(request_id="r")
    await cancel(hand, first)
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=first.name))
    await hand.settle(1)
    again: Job = await hand.trainer.create(request_id="r")
    assert again.uid == first.uid


async def test_a_cancellation_of_a_job_that_is_gone_is_no_answer_for_the_next_one_of_its_id(hand: Hand) -> None:
    for _ in range(2):
        job = await hand.trainer.create(job_id="mine")
        request = CancelJobRequest(name=job.name, request_id="once")
        cancelled = await hand.trainer.jobs.CancelJob(request)
        assert (cancelled.uid, cancelled.state) == (job.uid, JobState.JOB_STATE_CANCELLED)
        assert await hand.trainer.jobs.CancelJob(request) == cancelled
        await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))


async def test_one_id_with_two_bodies_is_refused_before_anything_else(hand: Hand) -> None:
    await hand.trainer.create(request_id="r")
    assert await reason_of(hand.trainer.create(request_id="r", priority=1)) == "REQUEST_ID_REUSED"
