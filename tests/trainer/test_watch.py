"""Watching a job: nothing lost, nothing twice, and clean ends."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    AttemptSuccess,
    CancelJobRequest,
    JobEvent,
    JobServiceStub,
    ListJobResultsRequest,
    WatchJobRequest,
    WatchJobResponse,
    WatchJobResultsRequest,
)
from bloomery_kit.clients import channel
from bloomery_trainer import feed as feed_module
from bloomery_trainer.feed import coalesced
from bloomery_trainer.reading import Reading
from bloomery_trainer.store import jobs
from tests.trainer.bench import AS_SERVICE, TOKEN, Trainer, World, failure, feeding, reason_of, running_trainer
from tests.trainer.fake_launcher import FakeLauncher
from tests.trainer.hand import FakeWorker, Hand, by_hand, log, metrics


@pytest.fixture
async def hand(world: World) -> AsyncIterator[Hand]:
    async with by_hand(world) as hand, feeding(hand.core):
        yield hand


async def collect(trainer: Trainer, name: str, count: int, after: int | None = None) -> list[WatchJobResponse]:
    """The first messages of a watch, which is then dropped."""
    call = trainer.jobs.WatchJob(WatchJobRequest(name=name, after_sequence=after))
    found = [await anext(aiter(call)) for _ in range(count)]
    call.cancel()
    return found


async def test_the_first_message_is_a_snapshot_that_moves_no_cursor(hand: Hand) -> None:
    job, _ = await hand.running()
    first, second = await collect(hand.trainer, job.name, 2)
    assert (first.sequence, first.snapshot.state) == (0, JOB_STATE_RUNNING)
    assert (second.sequence, second.event.sequence) == (1, 1)


async def test_live_events_follow_the_replay_in_order(hand: Hand) -> None:
    job, worker = await hand.running()
    call = hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name))
    messages = aiter(call)
    replay = [await anext(messages) for _ in range(job.last_sequence + 1)]
    for number in range(5):
        await worker.report(log(f"live {number}"))
    live = [await anext(messages) for _ in range(5)]
    call.cancel()
    assert [message.sequence for message in replay[1:] + live] == list(range(1, job.last_sequence + 6))
    assert [message.event.log.message for message in live] == [f"live {number}" for number in range(5)]


async def test_what_is_committed_here_is_seen_at_once(world: World) -> None:
    async with by_hand(world, watch_poll=None, watch_heartbeat=600) as hand, feeding(hand.core):
        job, worker = await hand.running()
        call = hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name, after_sequence=job.last_sequence))
        messages = aiter(call)
        await anext(messages)
        for number in range(3):
            await worker.report(log(str(number)))
            assert (await asyncio.wait_for(anext(messages), 30)).event.log.message == str(number)
        call.cancel()


async def test_a_watch_ends_with_the_terminal_event(hand: Hand) -> None:
    job, worker = await hand.running()
    watching = asyncio.create_task(hand.trainer.watch(job.name))
    await worker.finish(success=await worker.success(hand.core))
    messages = await watching
    done = await hand.trainer.get(job.name)
    assert messages[-1].event.state_changed.to_state == JOB_STATE_SUCCEEDED
    assert messages[-1].sequence == done.last_sequence


async def test_watching_a_finished_job_replays_and_ends(hand: Hand) -> None:
    job = await hand.trainer.create()
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    assert [message.sequence for message in await hand.trainer.watch(job.name)] == [0, 1, 2]
    only = await hand.trainer.watch(job.name, after=2)
    assert [message.snapshot.state for message in only] == [JOB_STATE_CANCELLED]


async def test_the_terminal_event_seals_the_log(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.finish(success=await worker.success(hand.core))
    done = await hand.trainer.get(job.name)
    assert await reason_of(worker.report(log("late"))) == "ATTEMPT_SUPERSEDED"
    async with hand.core.db.write() as tx:
        assert await jobs.extend_log(tx, job.uid, 1) is None
    assert (await hand.trainer.get(job.name)).last_sequence == done.last_sequence


async def test_a_watcher_that_comes_back_again_and_again_sees_everything_once(hand: Hand) -> None:
    job, worker = await hand.running()
    reporting = asyncio.create_task(_report_and_finish(hand, worker, 60))
    seen: list[int] = []
    # A gap or a repetition ends it: a watch that always begins anew would never come to the job's end.
    while seen == list(range(1, len(seen) + 1)):
        call = hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name, after_sequence=seen[-1] if seen else 0))
        taken = 0
        async for message in call:
            if message.HasField("event"):
                seen.append(message.sequence)
                taken += 1
            if taken == 7:
                call.cancel()
                break
        else:
            break
    await reporting
    assert seen == list(range(1, (await hand.trainer.get(job.name)).last_sequence + 1))


async def _report_and_finish(hand: Hand, worker: FakeWorker, count: int) -> None:
    for number in range(count):
        await worker.report(log(f"line {number}"), metrics(number))
    await worker.finish(success=await worker.success(hand.core))


@pytest.mark.parametrize(("after", "reason"), [(-1, "EVENTS_TRUNCATED"), (99, "SEQUENCE_IN_FUTURE")])
async def test_a_cursor_outside_of_the_log_is_refused(hand: Hand, after: int, reason: str) -> None:
    job = await hand.trainer.create()
    assert await reason_of(hand.trainer.watch(job.name, after=after)) == reason


async def test_a_shortened_log_says_where_it_starts(hand: Hand) -> None:
    job, _ = await hand.running()
    async with hand.core.db.write() as tx:
        await jobs.note(tx, job.uid, oldest_sequence=3)
    status = await failure(hand.trainer.watch(job.name, after=1))
    assert "start at 2" in status.message
    first = (await collect(hand.trainer, job.name, 2))[1]
    assert first.sequence == 3


async def test_an_idle_watch_has_heartbeats_with_the_cursor(world: World) -> None:
    async with by_hand(world, watch_heartbeat=0.05) as hand:
        job = await hand.trainer.create()
        messages = await collect(hand.trainer, job.name, 4)
    assert [(message.sequence, message.HasField("event")) for message in messages[1:]] == [
        (1, True),
        (1, False),
        (1, False),
    ]


async def test_a_drain_ends_watches_cleanly(hand: Hand) -> None:
    job = await hand.trainer.create()
    watch = aiter(hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name)))
    # Before its snapshot, it might not have begun to watch.
    await anext(watch)
    hand.trainer.host.draining.set()
    async with asyncio.timeout(30):
        messages = [message async for message in watch]
    assert messages[-1].sequence == 1


async def test_an_old_watch_ends_cleanly(world: World) -> None:
    async with by_hand(world, watch_heartbeat=0.05, watch_age=0.1) as hand:
        job = await hand.trainer.create()
        messages = await asyncio.wait_for(hand.trainer.watch(job.name), 30)
    assert messages[-1].sequence == 1


async def test_cancelling_a_watch_cancels_no_job(hand: Hand) -> None:
    job, _ = await hand.running()
    await collect(hand.trainer, job.name, 1)
    assert (await hand.trainer.get(job.name)).state == JOB_STATE_RUNNING


async def test_another_replicas_commits_are_seen(world: World) -> None:
    async with (
        by_hand(world) as hand,
        running_trainer(world, launcher=FakeLauncher(), reconcile=False) as other,
        feeding(other.app.core),
    ):
        job = await hand.trainer.create()
        watching = asyncio.create_task(other.watch(job.name))
        await asyncio.sleep(0.1)
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
        messages = await asyncio.wait_for(watching, 30)
    assert [message.sequence for message in messages] == [0, 1, 2]


async def test_another_replicas_commits_are_seen_by_a_busy_one(world: World) -> None:
    async with (
        by_hand(world) as hand,
        running_trainer(world, launcher=FakeLauncher(), reconcile=False) as other,
        feeding(other.app.core),
    ):
        feed = other.app.core.feed
        job, busy = await hand.trainer.create(), await hand.trainer.create()

        async def keep_busy() -> None:
            with feed.follow(busy.uid, busy.last_sequence):
                while True:
                    feed.committed(busy.uid)
                    await asyncio.sleep(0)

        noise = asyncio.create_task(keep_busy())
        watching = asyncio.create_task(other.watch(job.name))
        await asyncio.sleep(0.1)
        await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
        messages = await asyncio.wait_for(watching, 30)
        noise.cancel()
        await asyncio.gather(noise, return_exceptions=True)
    assert [message.sequence for message in messages] == [0, 1, 2]


async def test_many_watchers_cost_one_read_for_each_commit(hand: Hand) -> None:
    job, worker = await hand.running()
    streams = [aiter(hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name))) for _ in range(100)]
    await asyncio.gather(*(up_to(stream, job.last_sequence) for stream in streams))
    watching = [asyncio.create_task(rest_of(stream)) for stream in streams]
    before = hand.core.feed.reads
    for number in range(5):
        await worker.report(log(str(number)))
    await worker.finish(success=await worker.success(hand.core))
    everything = await asyncio.gather(*watching)
    last = (await hand.trainer.get(job.name)).last_sequence
    assert all(sequences == list(range(job.last_sequence + 1, last + 1)) for sequences in everything)
    assert hand.core.feed.reads - before < 50


async def up_to(stream: AsyncIterator[WatchJobResponse], sequence: int) -> None:
    async for message in stream:
        if message.sequence >= sequence:
            return


async def rest_of(stream: AsyncIterator[WatchJobResponse]) -> list[int]:
    return [message.sequence async for message in stream]


async def test_a_watcher_that_fell_behind_gets_merged_measurements(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "BUFFERED", 5)
    job, worker = await hand.running()
    call = hand.trainer.jobs.WatchJob(WatchJobRequest(name=job.name, after_sequence=job.last_sequence))
    messages = aiter(call)
    await anext(messages)
    await worker.report(log("live"))
    live = await anext(messages)
    # Not read for a while: gRPC's window fills, the handler waits, and the feed's buffer moves on.
    for step in range(60):
        await worker.report(*[_wide(step * 20 + inner) for inner in range(20)])
    await worker.finish(success=await worker.success(hand.core))
    rest = [message async for message in messages]
    merged = [message.event for message in rest if message.event.coalesced_from]
    covered = [number for event in (message.event for message in rest) for number in _covers(event)]
    assert merged
    assert covered == list(range(live.sequence + 1, (await hand.trainer.get(job.name)).last_sequence + 1))


async def test_of_five_hundred_watchers_one_that_never_reads_costs_the_others_nothing(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "BUFFERED", 5)
    job, worker = await hand.running()
    request = WatchJobRequest(name=job.name, after_sequence=job.last_sequence)
    async with channel(f"127.0.0.1:{hand.trainer.host.port}", token=TOKEN) as own:
        never = JobServiceStub(own).WatchJob(request)
        await anext(aiter(never))
        streams = [aiter(hand.trainer.jobs.WatchJob(request)) for _ in range(499)]
        await asyncio.gather(*(anext(stream) for stream in streams))
        watching = [asyncio.create_task(covered(stream)) for stream in streams]
        # More than a connection takes that nobody reads from.
        for step in range(20):
            await worker.report(*[_wide(step * 4 + inner) for inner in range(4)])
        await worker.finish(success=await worker.success(hand.core))
        everything = await asyncio.wait_for(asyncio.gather(*watching), 120)
        told = list(range(job.last_sequence + 1, (await hand.trainer.get(job.name)).last_sequence + 1))
        assert all(sequences == told for sequences in everything)
        late = [message.event async for message in never]
    assert [number for event in late for number in _covers(event)] == told
    assert len(late) < len(told)


async def covered(stream: AsyncIterator[WatchJobResponse]) -> list[int]:
    return [number async for message in stream for number in _covers(message.event)]


def _wide(step: int) -> JobEvent:
    event = metrics(1, step=step)
    event.metrics.values.update({f"{'m' * 60}{number}": 0.5 for number in range(60)})
    return event


def _covers(event: JobEvent) -> range:
    return range(event.coalesced_from or event.sequence, event.sequence + 1)


def test_merging_keeps_the_newest_values_and_every_other_event() -> None:
    batch = [metrics(1, loss=3, lr=1), metrics(1, loss=2), metrics(2, epoch_end=True, loss=1), log("x"), metrics(2)]
    for sequence, event in enumerate(batch, 10):
        event.sequence = sequence
    merged = coalesced(batch)
    assert [(event.coalesced_from, event.sequence) for event in merged] == [(10, 11), (0, 12), (0, 13), (0, 14)]
    assert dict(merged[0].metrics.values) == {"loss": 2.0, "lr": 1.0}


async def test_the_feed_of_results_has_no_gaps_and_can_be_followed(hand: Hand) -> None:
    call = hand.trainer.jobs.WatchJobResults(WatchJobResultsRequest(), metadata=AS_SERVICE)
    messages = aiter(call)
    names = []
    for number in range(3):
        job, worker = await hand.running()
        names.append(job.name)
        await worker.finish(success=await worker.success(hand.core))
        message = await asyncio.wait_for(anext(messages), 30)
        assert (message.sequence, message.item.job.name) == (number + 1, job.name)
        assert message.item.result.job_uid == job.uid
    call.cancel()
    listed = await hand.trainer.jobs.ListJobResults(
        ListJobResultsRequest(after_sequence=1, page_size=1), metadata=AS_SERVICE
    )
    assert [item.result.job for item in listed.results] == names[1:2]
    rest = await hand.trainer.jobs.ListJobResults(
        ListJobResultsRequest(after_sequence=1, page_size=1, page_token=listed.next_page_token), metadata=AS_SERVICE
    )
    assert ([item.result.job for item in rest.results], rest.next_page_token) == (names[2:], "")


async def test_who_waits_for_results_asks_the_database_now_and_then(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, reading = list[int](), Reading.feed

    async def feed(self: Reading, after: int, limit: int) -> object:
        reads.append(after)
        return await reading(self, after, limit)

    monkeypatch.setattr(Reading, "feed", feed)
    hand.core.feed.poll = 0.05
    call = hand.trainer.jobs.WatchJobResults(WatchJobResultsRequest(), metadata=AS_SERVICE)
    first = asyncio.ensure_future(anext(aiter(call)))
    while not reads:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.4)
    assert len(reads) <= 2
    call.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_failed_finish_leaves_no_gap_in_the_feed(hand: Hand) -> None:
    _, worker = await hand.running()
    await failure(worker.finish(success=AttemptSuccess(artifacts=[Artifact(role="nothing")])))
    await worker.finish(success=await worker.success(hand.core))
    listed = await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)
    assert [item.result.sequence for item in listed.results] == [1]
