"""How people and workers move a job by hand."""

from google.protobuf import json_format

from bloomery.training.v1 import (
    AttemptSuccess,
    CancelJobRequest,
    Job,
    JobState,
    PauseJobRequest,
    Reason,
    ResumeJobRequest,
)
from tests.trainer.hand import FakeWorker, Hand

OOM = Reason(code="OOM_GPU", message="out of memory", hint="batch=4 fits")
FLAKY = Reason(code="STALLED", message="no step", retriable=True)


async def state(hand: Hand, job: Job) -> str:
    return JobState.Name((await hand.trainer.get(job.name)).state).removeprefix("JOB_STATE_")


async def cancel(hand: Hand, job: Job, *, force: bool = False) -> Job:
    return await hand.trainer.jobs.CancelJob(CancelJobRequest(name=job.name, force=force))


async def pause(hand: Hand, job: Job) -> Job:
    return await hand.trainer.jobs.PauseJob(PauseJobRequest(name=job.name))


async def resume(hand: Hand, job: Job) -> Job:
    return await hand.trainer.jobs.ResumeJob(ResumeJobRequest(name=job.name))


async def leave_manifest(hand: Hand, worker: FakeWorker, made: AttemptSuccess) -> None:
    """What a worker leaves before its last call."""
    await worker.upload(hand.core, "result-manifest", json_format.MessageToJson(made).encode())
