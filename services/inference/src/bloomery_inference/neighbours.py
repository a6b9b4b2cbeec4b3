"""Questions to other services that several parts ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from bloomery.training.v1 import GetJobRequest

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub


async def is_job_there(jobs: JobServiceAsyncStub, name: str, uid: str) -> bool:
    """Whether the job of that uid is there; another may have its name."""
    try:
        job = await jobs.GetJob(GetJobRequest(name=name))
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return False
    return job.uid == uid
