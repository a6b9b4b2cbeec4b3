"""Jobs run by real processes, which speak the real protocol."""

from bloomery.training.v1 import (
    JOB_STATE_SUCCEEDED,
    JobState,
)
from tests.trainer.bench import Trainer


async def test_a_job_runs_to_its_result(trainer: Trainer) -> None:
    job = await trainer.create()
    done = await trainer.reaches(job.name, JOB_STATE_SUCCEEDED)
    assert [artifact.role for artifact in done.result.artifacts] == ["checkpoint", "metrics"]
    assert done.progress.fraction == 1.0
    states = [
        message.event.state_changed.to_state
        for message in await trainer.watch(job.name)
        if message.event.HasField("state_changed")
    ]
    names = [JobState.Name(state).removeprefix("JOB_STATE_") for state in states]
    assert names == ["PENDING", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED"]
