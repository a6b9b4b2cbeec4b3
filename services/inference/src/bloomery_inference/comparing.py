"""Whether one of two models is better: from what EVALUATE jobs recorded of each image."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from bloomery.inference.v1 import Better, EvaluationComparison, FigureDifference
from bloomery.training.v1 import GetJobRequest, Job, JobKind, JobState
from bloomery_inference.names import JOB
from bloomery_kit.errors import FailedPrecondition, FieldViolation, Internal, InvalidArgument, PreconditionViolation
from bloomery_kit.objects import ObjectStore
from bloomery_vision.bootstrap import Difference, Paired, paired
from bloomery_vision.records import from_parquet

if TYPE_CHECKING:
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

RECORDS = "records"
"""Role of the file that an evaluation records its images in."""
_REASON = "NOT_COMPARABLE"
_AGAIN = "evaluate the model"
_BETTER = (Better.BETTER_NOT_DISTINGUISHABLE, Better.BETTER_FIRST, Better.BETTER_OTHER)


class Comparing:
    """Compares evaluations, one pair at a time: it takes a core, and memory by the number of images."""

    def __init__(self, jobs: JobServiceAsyncStub, objects: ObjectStore) -> None:
        self._jobs = jobs
        self._objects = objects
        self._one = asyncio.Lock()

    async def compare(self, first: str, other: str) -> EvaluationComparison:
        """What two EVALUATE jobs say of their models.

        Raise InvalidArgument, FailedPrecondition NOT_COMPARABLE, or what the trainer raises.
        """
        if JOB.parse(first, "job")["project"] != JOB.parse(other, "other")["project"]:
            raise InvalidArgument([FieldViolation("other", "must be a job of the same project")])
        before, after = [await self._jobs.GetJob(GetJobRequest(name=name)) for name in (first, other)]
        _check(before, after)
        async with self._one:
            records = [await self._read(_records_of(job)) for job in (before, after)]
            found = await asyncio.to_thread(_paired, *records)
        return _comparison(before, after, found)

    async def _read(self, artifact: Artifact) -> bytes:
        content = await self._objects.get(artifact.logical_key)
        digest = await asyncio.to_thread(lambda: f"sha256:{hashlib.sha256(content).hexdigest()}")
        if digest != artifact.digest:
            raise Internal(f"{artifact.logical_key} has the digest {digest} instead of {artifact.digest}")
        return content


def _paired(first: bytes, other: bytes) -> Paired:
    try:
        return paired(from_parquet(first), from_parquet(other))
    except ValueError as error:
        raise FailedPrecondition(_REASON, str(error)) from error


def _check(before: Job, after: Job) -> None:
    """Raise FailedPrecondition NOT_COMPARABLE with everything that stands against comparing two jobs."""
    found = [*_unfit(before), *_unfit(after)] or list(_different(before, after))
    if found:
        raise FailedPrecondition(_REASON, "; ".join(f"{one.subject} {one.description}" for one in found), found)


def _unfit(job: Job) -> Iterator[PreconditionViolation]:
    if job.kind != JobKind.JOB_KIND_EVALUATE:
        yield PreconditionViolation(_REASON, job.name, "is no evaluation")
    elif job.state != JobState.JOB_STATE_SUCCEEDED:
        yield PreconditionViolation(_REASON, job.name, f"has not succeeded; wait for it, or {_AGAIN}")
    elif not any(one.role == RECORDS for one in job.result.artifacts):
        yield PreconditionViolation(_REASON, job.name, f"is from before evaluations recorded images; {_AGAIN} again")


def _different(before: Job, after: Job) -> Iterator[PreconditionViolation]:
    facts = _facts(before), _facts(after)
    for name, value in facts[0].items():
        if facts[1][name] != value:
            told = f"has the {name} {facts[1][name]}, {before.name} has {value}; {_AGAIN} again"
            yield PreconditionViolation(_REASON, after.name, told)


def _facts(job: Job) -> dict[str, object]:
    """What two evaluations have in common if they can be compared."""
    parameters = MessageToDict(job.effective_parameters)
    return {
        "dataset version": job.dataset_version,
        "split": parameters.get("split"),
        "multi_label": bool(parameters.get("multi_label")),
    }


def _records_of(job: Job) -> Artifact:
    return next(one for one in job.result.artifacts if one.role == RECORDS)


def _comparison(before: Job, after: Job, found: Paired) -> EvaluationComparison:
    split = str(_facts(before)["split"])
    return EvaluationComparison(
        model_version=before.model_version,
        other_model_version=after.model_version,
        dataset_version=before.dataset_version,
        split=split,
        image_count=found.images,
        cluster_count=found.clusters,
        differences=[_difference(split, one) for one in found.differences],
        model_variant=before.model_variant,
        other_model_variant=after.model_variant,
    )


def _difference(split: str, one: Difference) -> FigureDifference:
    return FigureDifference(
        metric=f"{split}/{one.metric}",
        value=one.first,
        other_value=one.second,
        lower=one.lower,
        upper=one.upper,
        better=_BETTER[one.better],
        needed_image_count=one.needed,
    )
