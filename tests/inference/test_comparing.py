"""Comparisons of evaluations, over gRPC, from the files that jobs recorded."""

import hashlib

import grpc
import numpy as np
import pytest

from bloomery.common.v1 import Artifact
from bloomery.inference.v1 import (
    BETTER_FIRST,
    BETTER_NOT_DISTINGUISHABLE,
    BETTER_OTHER,
    CompareEvaluationsRequest,
    EvaluationComparison,
)
from bloomery.training.v1 import Job, JobKind, JobResult, JobState
from bloomery_kit.errors import to_status
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.records import class_records, to_parquet
from tests import databases
from tests.inference.asking import PETS, fields_of, subjects_of
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, struct

DATABASES = databases.SQLITE

IMAGES = 40
JOBS = "projects/pets/jobs"


def records(right: int, *, images: int = IMAGES) -> bytes:
    """Of a classifier that is right about the first `right` images of two classes."""
    rows = [ManifestRow(f"assets/{n}", "", "", 1, "", 8, 8, "test", "", f"{n}.png") for n in range(images)]
    truth = np.arange(images) % 2
    first = np.where(np.arange(images) < right, truth, 1 - truth)
    return to_parquet(class_records(rows, truth, np.stack([first, 1 - first], axis=1), classes=("cat", "dog")))


async def measured(service: Service, number: int, content: bytes | None, **other: object) -> str:
    """The name of an evaluation that has succeeded and made a file, or none."""
    name, key = f"{JOBS}/e{number}", f"p/jobs/e{number}/records.parquet"
    digest = f"sha256:{hashlib.sha256(content or b'').hexdigest()}"
    files = [Artifact(role="records", logical_key=key, digest=digest)] if content else []
    if content:
        await service.objects.put(key, content)
    fields = {
        "kind": JobKind.JOB_KIND_EVALUATE,
        "state": JobState.JOB_STATE_SUCCEEDED,
        "dataset_version": DATASET,
        "effective_parameters": struct({"split": "test"}),
    } | other
    service.trainer.jobs[name] = Job(
        name=name,
        model_version=f"{PETS}/versions/{number}",
        result=JobResult(artifacts=files),
        **fields,  # type: ignore[arg-type]
    )
    return name


async def compared(service: Service, job: str, other: str) -> EvaluationComparison:
    return await service.models.CompareEvaluations(CompareEvaluationsRequest(job=job, other=other))


async def refused(service: Service, job: str, other: str) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await compared(service, job, other)
    return caught.value


async def test_the_better_model_is_told_with_its_interval(service: Service) -> None:
    bad, good = await measured(service, 1, records(12)), await measured(service, 2, records(36))
    found = await compared(service, bad, good)
    assert (found.model_version, found.other_model_version) == (f"{PETS}/versions/1", f"{PETS}/versions/2")
    assert (found.dataset_version, found.split, found.image_count, found.cluster_count) == (DATASET, "test", 40, 40)
    first = found.differences[0]
    assert (first.metric, first.value, first.other_value, first.better) == ("test/accuracy", 0.3, 0.9, BETTER_OTHER)
    assert 0.3 < first.lower < 0.6 < first.upper < 0.85
    assert {one.metric for one in found.differences[1:]} == {"test/accuracy_top5", "test/balanced_accuracy"}
    assert (await compared(service, good, bad)).differences[0].better == BETTER_FIRST
    assert await compared(service, bad, good) == found


async def test_what_cannot_be_told_apart_is_said_with_the_images_that_would_be_needed(service: Service) -> None:
    first, other = await measured(service, 1, records(30)), await measured(service, 2, records(31))
    found = (await compared(service, first, other)).differences
    assert found[0].better == BETTER_NOT_DISTINGUISHABLE
    # One image in 40 was decided otherwise: n (1.96 + 0.84)^2 p (1 - p) / p^2 of them.
    assert 40 * 7.85 * 0.6 < found[0].needed_image_count < 40 * 7.85 * 1.4
    assert (found[1].lower, found[1].upper, found[1].needed_image_count) == (0, 0, 0)


async def test_everything_that_stands_against_a_comparison_is_told(service: Service) -> None:
    good = await measured(service, 1, records(30))
    training = await measured(service, 2, records(30), kind=JobKind.JOB_KIND_TRAIN)
    waiting = await measured(service, 3, None, state=JobState.JOB_STATE_PENDING)
    old = await measured(service, 4, None)
    error = await refused(service, training, waiting)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert subjects_of(error) == [training, waiting]
    assert subjects_of(await refused(service, good, old)) == [old]
    parameters = struct({"split": "val", "multi_label": True})
    differing = await measured(service, 5, records(30), dataset_version=DATASET + "0", effective_parameters=parameters)
    error = await refused(service, good, differing)
    assert subjects_of(error) == [differing] * 3
    assert "NOT_COMPARABLE" in str(to_status(error).details)


async def test_records_of_other_images_are_not_compared(service: Service) -> None:
    first, other = await measured(service, 1, records(20)), await measured(service, 2, records(20, images=39))
    error = await refused(service, first, other)
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "not of the same images" in str(error.details())


async def test_jobs_of_other_projects_and_those_that_are_gone_are_refused(service: Service) -> None:
    first = await measured(service, 1, records(20))
    assert fields_of(await refused(service, first, "projects/zoo/jobs/e1")) == ["other"]
    assert (await refused(service, first, f"{JOBS}/gone")).code() == grpc.StatusCode.NOT_FOUND
