"""What a worker may and may not do: its secret opens its own attempt, and nothing else."""

from dataclasses import replace

import grpc
import pytest
import sqlalchemy as sa

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    ArtifactUpload,
    AttemptFailure,
    AttemptStopped,
    FinishAttemptRequest,
    GetLogsRequest,
    JobEvent,
    PrepareArtifactUploadsRequest,
    Reason,
    SignInputsRequest,
    StartAttemptRequest,
    StateChanged,
    WorkerServiceStub,
)
from bloomery_kit.clients import channel
from bloomery_trainer.store.tables import attempts
from tests.trainer.bench import TOKEN, failure, reason_of
from tests.trainer.hand import FakeWorker, Hand, artifact_of, key_of, log
from tests.trainer.neighbours import PROJECT_UID

OWN = f"{PROJECT_UID}/datasets/v/index.json"


async def sign(worker: FakeWorker, *keys: str) -> list[str]:
    answer = await worker.stub.SignInputs(SignInputsRequest(logical_keys=keys), metadata=worker.metadata)
    return [request.url for request in answer.gets]


async def test_every_call_needs_the_attempts_secret(hand: Hand) -> None:
    _, worker = await hand.running()
    for secret in ("", "wrong", TOKEN, worker.start.secret[:-1]):
        stranger = replace(worker, start=type(worker.start)(secret=secret))
        assert await reason_of(stranger.report(log("x"))) == "UNAUTHENTICATED"
        assert await reason_of(sign(stranger, OWN)) == "UNAUTHENTICATED"
        assert await reason_of(stranger.upload(hand.core, "a", b"a")) == "UNAUTHENTICATED"
        assert await reason_of(stranger.finish(stopped={})) == "UNAUTHENTICATED"


async def test_a_token_that_nobody_gave_opens_nothing(hand: Hand) -> None:
    await hand.queued()
    call = hand.trainer.workers.StartAttempt(StartAttemptRequest(token="guess", worker_id="w"))
    assert await reason_of(call) == "UNAUTHENTICATED"


async def test_neither_token_nor_secret_is_stored(hand: Hand) -> None:
    _, worker = await hand.running()
    async with hand.core.db.read() as tx:
        stored = str((await tx.execute(sa.select(attempts))).all())
    assert worker.start.secret not in stored
    assert hand.launcher.orders[0].secrets["BLOOMERY_ATTEMPT_TOKEN"] not in stored


async def test_inputs_are_signed_inside_the_project_only(hand: Hand) -> None:
    _, worker = await hand.running()
    assert len(await sign(worker, OWN, f"{PROJECT_UID}/{'0' * 64}")) == 2
    for key in ("b" * 32 + "/x", f"{PROJECT_UID}x/y"):
        assert await reason_of(sign(worker, OWN, key)) == "PERMISSION_DENIED"
    for key in (f"{PROJECT_UID}/../other/x", f"{PROJECT_UID}/", f"{PROJECT_UID}//x"):
        assert await reason_of(sign(worker, key)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("role", ["", "../x", "/x", "a//b", ".hidden", "a/.b", "a" * 300, "a b", "ü"])
async def test_roles_stay_inside_the_attempts_folder(hand: Hand, role: str) -> None:
    _, worker = await hand.running()
    assert await reason_of(worker.upload(hand.core, role, b"x")) == "INVALID_ARGUMENT"


async def test_wrong_uploads_are_named_all_at_once(hand: Hand) -> None:
    _, worker = await hand.running()
    bad = Artifact(role="../x", digest="md5:1", size_bytes=-1)
    uploads = [ArtifactUpload(artifact=bad), ArtifactUpload(artifact=bad)]
    status = await failure(
        worker.stub.PrepareArtifactUploads(PrepareArtifactUploadsRequest(uploads=uploads), metadata=worker.metadata)
    )
    for part in ("uploads[0].artifact.role", "uploads[1].artifact.digest", "size_bytes", "different roles"):
        assert part in status.message


async def test_an_upload_that_never_came_is_said_for_its_item(hand: Hand) -> None:
    _, worker = await hand.running()
    there = await worker.upload(hand.core, "there", b"1")
    answer = await worker.complete(there, artifact_of("missing", b"2"))
    assert [bool(result.status.code) for result in answer.results] == [False, True]


async def test_other_bytes_than_announced_are_refused(hand: Hand) -> None:
    _, worker = await hand.running()
    announced = artifact_of("weights", b"good")
    prepared = await worker.stub.PrepareArtifactUploads(
        PrepareArtifactUploadsRequest(uploads=[ArtifactUpload(artifact=announced)]), metadata=worker.metadata
    )
    target = key_of(prepared.targets[0].put.url)
    await hand.core.objects.put(target, b"evil")
    refused = (await worker.complete(announced)).results[0]
    assert (refused.status.code, refused.artifact.logical_key) == (9, "")
    await hand.core.objects.put(target, b"good")
    assert not (await worker.complete(announced)).results[0].status.code


async def test_bytes_that_are_kept_need_no_second_upload(hand: Hand) -> None:
    _, worker = await hand.running()
    first = await worker.upload(hand.core, "metrics", b"same")
    assert await worker.upload(hand.core, "metrics", b"same") == first
    other = await worker.upload(hand.core, "metrics", b"different")
    assert other.logical_key != first.logical_key


async def test_a_signed_upload_cannot_change_what_was_verified(hand: Hand) -> None:
    _, worker = await hand.running()
    artifact = artifact_of("weights", b"good")
    prepared = await worker.stub.PrepareArtifactUploads(
        PrepareArtifactUploadsRequest(uploads=[ArtifactUpload(artifact=artifact)]), metadata=worker.metadata
    )
    kept = await worker.upload(hand.core, "weights", b"good")
    await hand.core.objects.put(key_of(prepared.targets[0].put.url), b"evil")
    assert await hand.core.objects.get(kept.logical_key) == b"good"


async def test_workers_write_no_lifecycle_events(hand: Hand) -> None:
    _, worker = await hand.running()
    assert await reason_of(worker.report(JobEvent(state_changed=StateChanged()))) == "INVALID_ARGUMENT"
    assert await reason_of(worker.report(*[log("x")] * 1001)) == "INVALID_ARGUMENT"
    assert await reason_of(worker.report(log("x"), first=0)) == "INVALID_ARGUMENT"


async def test_an_end_must_be_one_of_three(hand: Hand) -> None:
    _, worker = await hand.running()
    assert await reason_of(worker.finish()) == "INVALID_ARGUMENT"


async def test_another_attempts_worker_is_superseded(hand: Hand) -> None:
    job, worker = await hand.running()
    hand.launcher.ends(None)
    await hand.settle()
    await hand.after(400)
    again = await hand.worker("w2")
    await again.report(log("second"))
    for call in (worker.report(log("first")), sign(worker, OWN), worker.upload(hand.core, "a", b"a")):
        assert await reason_of(call) == "ATTEMPT_SUPERSEDED"
    reason = Reason(code="USER_CODE", message="late")
    assert await reason_of(worker.finish(failure=AttemptFailure(reason=reason))) == "ATTEMPT_SUPERSEDED"
    assert (await hand.trainer.get(job.name)).attempt == 2


async def test_people_cannot_use_the_workers_port_without_a_secret(hand: Hand) -> None:
    async with channel(f"127.0.0.1:{hand.trainer.worker_host.port}", token=TOKEN) as people:
        call = WorkerServiceStub(people).FinishAttempt(FinishAttemptRequest(stopped=AttemptStopped()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_absurd_reports_break_nothing(hand: Hand) -> None:
    job, worker = await hand.running()
    for first in (-(2**63), -1, 0):
        assert await reason_of(worker.report(log("x"), first=first)) == "INVALID_ARGUMENT"
    assert (await worker.report(log("x"), first=2**63 - 1)).acknowledged_sequence == 1
    await worker.report(log("x" * 100_000), phase="p" * 10_000)
    messages = await collect_logs(hand, job.name)
    assert len(messages[-1]) == 8192
    assert len((await hand.trainer.get(job.name)).progress.phase) == 100


async def collect_logs(hand: Hand, name: str) -> list[str]:
    answer = await hand.trainer.jobs.GetLogs(GetLogsRequest(name=name))
    return [entry.line.message for entry in answer.entries]
