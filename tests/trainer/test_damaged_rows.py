"""Rows that cannot be read: what people, readers of results and workers are told of them, and what the log is."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.training.v1 import (
    CancelJobGroupRequest,
    CancelJobRequest,
    DeleteJobRequest,
    FeedItem,
    Job,
    JobState,
    ListJobResultsRequest,
    ListJobsRequest,
    WatchJobResultsRequest,
)
from bloomery_kit.metrics import REGISTRY
from bloomery_trainer.store.tables import attempts, results
from bloomery_trainer.store.tables import jobs as rows
from tests.trainer.bench import AS_SERVICE, reason_of
from tests.trainer.hand import Hand, log

BROKEN: Any = sa.literal_column("'{\"secret\": 7'")


async def succeeded(hand: Hand, **fields: Any) -> Job:
    job, worker = await hand.running(**fields)
    await worker.finish(success=await worker.success(hand.core))
    return await hand.trainer.get(job.name)


async def damage(hand: Hand, uid: str, column: sa.Column[Any], value: Any = BROKEN) -> None:
    key = rows.c.uid if column.table is rows else column.table.c.job_uid
    async with hand.core.db.write() as tx:
        await tx.execute(sa.update(column.table).where(key == uid).values({column.name: value}))


async def listed(hand: Hand, **fields: Any) -> list[FeedItem]:
    request = ListJobResultsRequest(accept_unreadable=True, **fields)
    return list((await hand.trainer.jobs.ListJobResults(request, metadata=AS_SERVICE)).results)


async def watched(hand: Hand, count: int) -> list[FeedItem]:
    request = WatchJobResultsRequest(accept_unreadable=True)
    messages = aiter(hand.trainer.jobs.WatchJobResults(request, metadata=AS_SERVICE))
    return [(await anext(messages)).item for _ in range(count)]


@pytest.mark.parametrize("column", [results.c.success, rows.c.spec, rows.c.reason])
async def test_a_result_that_cannot_be_read_is_told_in_its_place_of_the_feed(
    hand: Hand, column: sa.Column[Any]
) -> None:
    made = [await succeeded(hand) for _ in range(3)]
    await damage(hand, made[1].uid, column)
    for found in (await listed(hand), await watched(hand, 3)):
        assert [item.result.sequence for item in found] == [1, 2, 3]
        assert [item.result.job_uid for item in found] == [job.uid for job in made]
        assert [bool(item.unreadable) for item in found] == [False, True, False]
        assert (found[1].job.name, found[1].job.uid) == (made[1].name, made[1].uid)
        assert f"`{column.name}` cannot be read" in found[1].unreadable
        assert "secret" not in found[1].unreadable, "what is stored is not for everybody"


async def test_a_reader_that_knows_of_no_unreadable_results_is_held_up_by_them(hand: Hand) -> None:
    job = await succeeded(hand)
    await damage(hand, job.uid, results.c.success)
    assert await reason_of(hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)) == (
        "RESULT_UNREADABLE"
    )
    messages = aiter(hand.trainer.jobs.WatchJobResults(WatchJobResultsRequest(), metadata=AS_SERVICE))
    assert await reason_of(anext(messages)) == "RESULT_UNREADABLE"


async def test_a_result_whose_job_was_buried_and_cannot_be_read_is_told(hand: Hand) -> None:
    job = await succeeded(hand)
    hand.launcher.ends(0)
    await hand.settle()
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.bury(2)
    await damage(hand, job.uid, results.c.job)
    [item] = await listed(hand)
    assert (item.result.job_uid, item.job.name) == (job.uid, "")
    assert "`job` cannot be read" in item.unreadable


async def test_a_result_says_what_it_can_of_what_a_later_version_has_written(hand: Hand) -> None:
    job = await succeeded(hand)
    async with hand.core.db.write() as tx:
        stored = await tx.scalar(sa.select(sa.cast(results.c.success, sa.Text)).where(results.c.job_uid == job.uid))
        assert stored
        assert '"decoder"' in stored
        newer = stored.replace('"decoder"', '"of_a_later_version":1,"decoder"')
        await tx.execute(sa.update(results).values(success=sa.literal_column(f"'{newer}'")))
    [item] = await listed(hand)
    assert (item.unreadable, item.result.model.decoder) == ("", "yolo")
    assert (await hand.trainer.get(job.name)).result.model.decoder == "yolo"


@pytest.mark.parametrize("column", [results.c.success, rows.c.progress])
async def test_a_list_of_jobs_leaves_out_the_one_that_cannot_be_read(hand: Hand, column: sa.Column[Any]) -> None:
    made = [await succeeded(hand) for _ in range(3)]
    await damage(hand, made[1].uid, column)
    found, token = list[str](), ""
    for _ in made:
        request = ListJobsRequest(parent="projects/cells", page_size=1, page_token=token)
        answer = await hand.trainer.jobs.ListJobs(request)
        found += [job.uid for job in answer.jobs]
        token = answer.next_page_token
    assert (found, token) == ([made[2].uid, made[0].uid], "")


@pytest.mark.parametrize(
    "ask",
    [
        lambda hand, name: hand.trainer.get(name),
        lambda hand, name: hand.trainer.jobs.CancelJob(CancelJobRequest(name=name)),
        lambda hand, name: hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=name)),
    ],
)
async def test_whoever_asks_for_a_job_that_cannot_be_read_is_told_so(
    hand: Hand, ask: Callable[[Hand, str], Awaitable[object]]
) -> None:
    job = await hand.trainer.create()
    await damage(hand, job.uid, rows.c.labels)
    assert await reason_of(ask(hand, job.name)) == "JOB_UNREADABLE"


async def test_a_group_is_cancelled_but_for_the_job_that_cannot_be_read(hand: Hand) -> None:
    made = [await hand.trainer.create(group="sweep") for _ in range(3)]
    await damage(hand, made[1].uid, rows.c.progress)
    request = CancelJobGroupRequest(name="projects/cells/jobGroups/sweep")
    group = await hand.trainer.jobs.CancelJobGroup(request)
    assert dict(group.state_counts) == {"CANCELLED": 2, "PENDING": 1}


@pytest.mark.parametrize("column", [rows.c.spec, attempts.c.end_reason])
async def test_a_worker_waits_with_its_result_until_its_job_can_be_read_again(
    hand: Hand, column: sa.Column[Any]
) -> None:
    job, worker = await hand.running()
    made = await worker.success(hand.core)
    async with hand.core.db.read() as tx:
        before = await tx.scalar(sa.select(sa.cast(rows.c.spec, sa.Text)))
    await damage(hand, job.uid, column)
    calls = [worker.report(log("on")), worker.finish(success=made), hand.worker("w2")]
    assert [await reason_of(call) for call in calls] == ["JOB_UNREADABLE"] * 3
    await damage(hand, job.uid, column, sa.literal(before, sa.Text) if column is rows.c.spec else None)
    assert await worker.finish(success=made) == JobState.JOB_STATE_SUCCEEDED


async def test_a_job_that_cannot_be_read_is_told_once_and_counted_as_long_as_it_is(
    hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    waits, runs = await hand.trainer.create(), (await hand.running())[0]
    for job in (waits, runs):
        await damage(hand, job.uid, rows.c.reason)
    with caplog.at_level(logging.WARNING):
        await hand.settle(4)
        await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/cells"))
    told = [record.job for record in caplog.records if "cannot be read" in record.message]  # type: ignore[attr-defined]
    assert sorted(told) == sorted([waits.uid, runs.uid])
    assert REGISTRY.get_sample_value("bloomery_training_unreadable_jobs") == 2
    for job in (waits, runs):
        await damage(hand, job.uid, rows.c.reason, None)
    await hand.settle(1)
    assert REGISTRY.get_sample_value("bloomery_training_unreadable_jobs") == 0
