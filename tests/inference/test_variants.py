"""Variants: asked for, made by jobs, failed, made again."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from bloomery.inference.v1 import (
    GetModelFormsRequest,
    GetModelVariantRequest,
    ModelVariant,
    OptimizeModelVersionRequest,
    SignModelArtifactsRequest,
)
from bloomery.training.v1 import FeedItem, Job, JobKind, JobResult, JobServiceStub, Reason, VariantFacts
from bloomery_inference.pending import LOOP, Pending
from bloomery_kit.errors import error_info, to_status
from bloomery_kit.feeds import Notifier
from bloomery_kit.times import utc_now
from tests.inference.asking import ONNX, V1, recorded, variant_in
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import optimized, struct, trained, with_facts, with_variant


async def test_an_optimization_makes_a_ready_variant_with_its_proof(service: Service, tmp_path: Path) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    assert (variant.name, variant.state) == (ONNX, ModelVariant.STATE_PENDING)
    again = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    assert again == variant
    asked = service.trainer.created[0]
    assert asked.job.base_artifact.role == "checkpoint"
    assert f"{asked.parent}/jobs/{asked.job_id}" == variant.job
    directory = write_model(tmp_path / "model", one_box(8, 8, 4, 4, [0.9, 0.1]), side=32)
    service.trainer.feed.append(await optimized(2, variant.job, service.objects, directory))
    ready = await variant_in(service, ModelVariant.STATE_READY)
    assert ready.parity.passed
    assert ready.latency.p50_ms == 1.5
    signed = await service.models.SignModelArtifacts(SignModelArtifactsRequest(name=V1))
    assert [(file.variant, file.artifact.file_name) for file in signed.artifacts][1:] == [
        ("onnx-fp32", "1/model.onnx"),
        ("onnx-fp32", "config.pbtxt"),
    ]


async def test_a_failed_job_fails_its_variant_with_the_jobs_reason_and_it_can_be_asked_for_again(
    service: Service,
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    service.trainer.fail(variant.job)
    failed = await variant_in(service, ModelVariant.STATE_FAILED)
    assert failed.reason == "EXPORT_FAILED: the answers differ; report it"
    retried = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    assert retried.state == ModelVariant.STATE_PENDING
    assert retried.job != variant.job


async def test_a_job_that_could_not_be_created_is_created_by_the_next_try(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.trainer.refuse_creation = 4
    request = OptimizeModelVersionRequest(name=V1, format="onnx")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(request)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    variant = await service.models.OptimizeModelVersion(request)
    assert [f"{asked.parent}/jobs/{asked.job_id}" for asked in service.trainer.created] == [variant.job]


async def test_the_job_of_the_latest_version_is_created_also_when_another_came_since(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.trainer.refuse_creation = 4
    latest = OptimizeModelVersionRequest(name=f"{V1.rpartition('/')[0]}/latest", request_id="once")
    with pytest.raises(grpc.aio.AioRpcError):
        await service.models.OptimizeModelVersion(latest)
    service.trainer.feed.append(trained(2))
    await recorded(service, f"{V1.rpartition('/')[0]}/2")
    variant = await service.models.OptimizeModelVersion(latest)
    assert variant.name == ONNX
    assert [f"{asked.parent}/jobs/{asked.job_id}" for asked in service.trainer.created] == [variant.job]


@pytest.mark.parametrize("minutes", [0, 50, -50], ids="{} minutes ahead".format)
async def test_a_variant_whose_job_is_never_created_has_failed_after_a_minute(service: Service, minutes: int) -> None:
    """Of a replica's own time: its clock may differ from that of whoever asked for the variant."""
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.trainer.refuse_creation = 4
    with pytest.raises(grpc.aio.AioRpcError):
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    now = 1000.0
    replica = Pending(
        service.app._db,
        jobs=JobServiceStub(*service.app._channels.values()),
        changed=Notifier(),
        interval=1,
        clock=lambda: utc_now() + timedelta(minutes=minutes),
        monotonic=lambda: now,
    )
    states = []
    for now in (1000.0, 1059.0, 1066.0):  # noqa: B007 - the replica's clock reads it
        await replica.settle()
        states.append((await recorded(service)).variants[0].state)
    assert states == [ModelVariant.STATE_PENDING, ModelVariant.STATE_PENDING, ModelVariant.STATE_FAILED]
    failed = (await recorded(service)).variants[0]
    assert failed.reason == f"{failed.job} does not exist; ask for the variant again"
    asked = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    await replica.settle()
    assert [asked.state, (await recorded(service)).variants[0].state] == [ModelVariant.STATE_PENDING] * 2


async def test_a_job_that_takes_long_is_looked_at_less_and_less_and_its_end_is_seen_within_a_minute(
    service: Service,
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    # Only one replica looks.
    await service.app.loops.close(LOOP)
    now, asked, looks = 0.0, service.trainer.asked, []
    jobs = JobServiceStub(*service.app._channels.values())
    replica = Pending(service.app._db, jobs=jobs, changed=Notifier(), interval=2, monotonic=lambda: now)
    for now in range(0, 600, 2):
        asked.clear()
        await replica.settle()
        looks += [now] * len(asked)
    assert looks[:10] == list(range(0, 20, 2))
    assert len(looks) < 60
    service.trainer.fail(variant.job)
    for now in range(600, 662, 2):  # noqa: B007 - the replica's clock reads it
        await replica.settle()
    assert (await recorded(service)).variants[0].state == ModelVariant.STATE_FAILED


async def test_a_job_is_asked_for_the_form_its_parameters_and_other_images(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    other = "projects/pets/datasets/others/versions/3"
    wanted = struct({"calibration_images": 50})
    variant = await service.models.OptimizeModelVersion(
        OptimizeModelVersionRequest(name=V1, format="onnx", precision="int8", parameters=wanted, dataset_version=other)
    )
    assert variant.name == f"{V1}/variants/onnx-int8"
    [asked] = service.trainer.created
    assert asked.job.dataset_version == other
    assert dict(asked.job.parameters) == {"format": "onnx", "precision": "int8", "calibration_images": 50}


async def test_a_variant_whose_job_the_trainer_refuses_can_be_asked_for_otherwise(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.trainer.refuse_creation = 1
    service.trainer.refusal = grpc.StatusCode.INVALID_ARGUMENT
    wrong = struct({"calibration_imges": 50})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, parameters=wrong))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    [failed] = (await recorded(service)).variants
    assert failed.state == ModelVariant.STATE_FAILED
    assert failed.reason.startswith("JOB_REFUSED: ")
    again = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    assert again.state == ModelVariant.STATE_PENDING
    assert [dict(asked.job.parameters) for asked in service.trainer.created] == [
        {"format": "onnx", "precision": "fp32"}
    ]


async def test_the_forms_say_what_runs_them_and_what_they_need(service: Service) -> None:
    found = {form.id: form for form in (await service.models.GetModelForms(GetModelFormsRequest())).model_forms}
    assert next(iter(found)) == "onnx-fp32"
    assert (found["onnx-int8"].runtime, found["onnx-int8"].limits) == ("onnxruntime", "metric 0.01")
    assert [form.id for form in found.values() if form.needs] == ["tensorrt-fp16", "tensorrt-int8"]


async def test_a_form_that_needs_a_gpu_is_refused_where_there_is_none_before_there_is_a_job(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    said = "the job asks for 1 GPUs and the machine has 0"
    service.trainer.outlook = Reason(code="UNSCHEDULABLE_GPU", message=said)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="tensorrt"))
    assert error_info(to_status(refused.value)).reason == "FORM_UNAVAILABLE"
    assert "it needs a GPU that builds it and will run it" in (refused.value.details() or "")
    assert said in (refused.value.details() or "")
    assert not service.trainer.created
    assert not (await recorded(service)).variants
    service.trainer.outlook = Reason(code="CREATED")
    request = OptimizeModelVersionRequest(name=V1, format="tensorrt", precision="int8")
    made = await service.models.OptimizeModelVersion(request)
    [asked] = service.trainer.created
    assert (asked.job.resources.gpus, f"{asked.parent}/jobs/{asked.job_id}") == (1, made.job)
    assert dict(asked.job.parameters) == {"format": "tensorrt", "precision": "int8"}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"format": "onnx", "precision": "int4"}, "must be one of fp32, int8, int8-dynamic for onnx"),
        ({"parameters": struct({"precision": "int8"})}, "is a field of its own"),
    ],
)
async def test_a_form_that_there_is_not_is_refused(service: Service, wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, **wanted))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert said in (refused.value.details() or "")


async def test_an_unknown_format_names_the_known_ones(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="tflite"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "onnx" in (refused.value.details() or "")


async def test_a_variant_whose_result_is_refused_has_failed_and_can_be_asked_for_again(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    twice = [VariantFacts(id="onnx-fp32", format="onnx", precision="fp32", role_prefix="variant/")] * 2
    result = JobResult(job=variant.job, job_uid=uuid4().hex, sequence=2, kind=JobKind.JOB_KIND_OPTIMIZE, variants=twice)
    service.trainer.feed.append(FeedItem(job=Job(name=variant.job), result=result))
    failed = await variant_in(service, ModelVariant.STATE_FAILED)
    assert failed.reason.startswith("RESULT_REFUSED: ")
    again = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    assert (again.state, again.job != variant.job) == (ModelVariant.STATE_PENDING, True)


async def test_a_variant_is_asked_for_once_for_each_request_id(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    request = OptimizeModelVersionRequest(name=V1, request_id="once")
    first = await service.models.OptimizeModelVersion(request)
    service.trainer.fail(first.job)
    await variant_in(service, ModelVariant.STATE_FAILED)
    assert await service.models.OptimizeModelVersion(request) == first
    assert (await service.models.GetModelVariant(GetModelVariantRequest(name=ONNX))).state == ModelVariant.STATE_FAILED
    other = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, request_id="again"))
    assert other.job != first.job


async def test_a_version_without_a_checkpoint_cannot_be_optimized(service: Service) -> None:
    item = trained(1)
    del item.result.artifacts[:]
    service.trainer.feed.append(item)
    await recorded(service)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    assert error_info(to_status(refused.value)).reason == "NO_CHECKPOINT"
    assert not (await recorded(service)).variants


async def test_a_variant_that_a_training_failed_to_make_says_why_and_can_be_made(
    service: Service, tmp_path: Path
) -> None:
    item = await with_variant(with_facts(trained(1)), service.objects, tmp_path, failure="EXPORT_FAILED: 3 px off")
    service.trainer.feed.append(item)
    version = await recorded(service)
    assert [(one.state, one.reason) for one in version.variants] == [
        (ModelVariant.STATE_FAILED, "EXPORT_FAILED: 3 px off")
    ]
    again = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    assert again.state == ModelVariant.STATE_PENDING
