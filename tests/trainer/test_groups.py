"""Groups of jobs: counted, listed and cancelled together."""

from bloomery.training.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_CANCELLING,
    JOB_STATE_PENDING,
    JOB_STATE_SUCCEEDED,
    CancelJobGroupRequest,
    GetJobGroupRequest,
    ListJobGroupsRequest,
    ListJobsRequest,
)
from tests.trainer.bench import reason_of
from tests.trainer.hand import Hand

SWEEP = "projects/cells/jobGroups/sweep"


async def test_a_group_counts_its_jobs_by_state(hand: Hand) -> None:
    await hand.trainer.create()
    done, worker = await hand.running(group="sweep")
    await worker.finish(success=await worker.success(hand.core))
    waiting = await hand.trainer.create(group="sweep")
    group = await hand.trainer.jobs.GetJobGroup(GetJobGroupRequest(name=SWEEP))
    assert (group.name, group.job_count) == (SWEEP, 2)
    assert dict(group.state_counts) == {"SUCCEEDED": 1, "PENDING": 1}
    assert group.fraction == 0.5
    assert group.create_time == done.create_time
    listed = await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/cells", filter="group:sweep"))
    assert [job.name for job in listed.jobs] == [waiting.name, done.name]
    assert {job.group for job in listed.jobs} == {"sweep"}


async def test_groups_are_listed_in_pages_by_id(hand: Hand) -> None:
    for group in ("b", "a", "b", "c", ""):
        await hand.trainer.create(group=group)
    first = await hand.trainer.jobs.ListJobGroups(ListJobGroupsRequest(parent="projects/cells", page_size=2))
    assert [(group.name.rpartition("/")[2], group.job_count) for group in first.job_groups] == [("a", 1), ("b", 2)]
    rest = await hand.trainer.jobs.ListJobGroups(
        ListJobGroupsRequest(parent="projects/cells", page_size=2, page_token=first.next_page_token)
    )
    assert [group.name.rpartition("/")[2] for group in rest.job_groups] == ["c"]
    assert not rest.next_page_token


async def test_cancelling_a_group_cancels_all_its_open_jobs_and_no_other(hand: Hand) -> None:
    done, worker = await hand.running(group="sweep")
    await worker.finish(success=await worker.success(hand.core))
    working, _ = await hand.running(group="sweep")
    waiting, other = await hand.trainer.create(group="sweep"), await hand.trainer.create(group="other")
    request = CancelJobGroupRequest(name=SWEEP, request_id="once")
    group = await hand.trainer.jobs.CancelJobGroup(request)
    assert dict(group.state_counts) == {"SUCCEEDED": 1, "CANCELLING": 1, "CANCELLED": 1}
    states = [(await hand.trainer.get(job.name)).state for job in (done, working, waiting, other)]
    assert states == [JOB_STATE_SUCCEEDED, JOB_STATE_CANCELLING, JOB_STATE_CANCELLED, JOB_STATE_PENDING]
    assert (await hand.trainer.get(waiting.name)).reason.message == "owner cancelled it"
    late = await hand.trainer.create(group="sweep")
    assert await hand.trainer.jobs.CancelJobGroup(request) == group
    assert (await hand.trainer.get(late.name)).state == JOB_STATE_PENDING


async def test_a_group_without_jobs_is_not_there(hand: Hand) -> None:
    assert await reason_of(hand.trainer.jobs.GetJobGroup(GetJobGroupRequest(name=SWEEP))) == "NOT_FOUND"
    assert await reason_of(hand.trainer.jobs.CancelJobGroup(CancelJobGroupRequest(name=SWEEP))) == "NOT_FOUND"


async def test_a_groups_id_is_an_id(hand: Hand) -> None:
    assert await reason_of(hand.trainer.create(group="No Id")) == "INVALID_ARGUMENT"
