"""Models, versions and variants: what is recorded from the trainer's feed, and what is made from it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import grpc
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from bloomery.dataset.v1 import DatasetServiceStub
from bloomery.inference.v1 import (
    DeleteModelRequest,
    DeleteModelVersionRequest,
    FindModelVersionRequest,
    GetModelRequest,
    GetModelVariantRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
    Model,
    ModelVariant,
    ModelVersion,
    OptimizeModelVersionRequest,
    SignModelArtifactsRequest,
    UpdateModelRequest,
)
from bloomery.training.v1 import FeedItem, Job, JobKind, JobResult, JobServiceStub, VariantFacts
from bloomery_inference.app import MIGRATIONS
from bloomery_inference.follower import FEED, Follower
from bloomery_inference.model import VariantResult
from bloomery_inference.results import version_content
from bloomery_inference.store import models, results
from bloomery_inference.store.rows import content_json, result_json
from bloomery_inference.store.tables import METADATA, MODELS, VARIANTS, VERSIONS
from bloomery_kit.database import Database, UtcDateTime
from bloomery_kit.errors import error_info, to_status
from bloomery_kit.migrations import migrate
from bloomery_kit.sequences import next_sequence
from tests.inference.conftest import Service
from tests.inference.models import one_box, write_model
from tests.inference.samples import CLASSES, DATASET, imported, optimized, trained, with_facts, with_variant

T = TypeVar("T")
Row = dict[str, object]
PETS = "projects/pets/models/pets"
V1 = f"{PETS}/versions/1"
BOX = one_box(16, 16, 8, 4, [0.9, 0.1])
ONNX = f"{V1}/variants/onnx-fp32"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def until(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool] = lambda _: True) -> T:
    """The first answer that holds; NOT_FOUND is not an answer yet."""
    async with asyncio.timeout(20):
        while True:
            try:
                answer = await ask()
                if holds(answer):
                    return answer
            except grpc.aio.AioRpcError as error:
                if error.code() != grpc.StatusCode.NOT_FOUND:
                    raise
            await asyncio.sleep(0.02)


async def recorded(service: Service, name: str = V1) -> ModelVersion:
    return await until(lambda: service.models.GetModelVersion(GetModelVersionRequest(name=name)))


async def variant_in(service: Service, state: ModelVariant.State.ValueType) -> ModelVariant:
    request = GetModelVariantRequest(name=ONNX)
    return await until(lambda: service.models.GetModelVariant(request), lambda variant: variant.state == state)


async def test_a_finished_training_becomes_a_version_with_its_lineage(service: Service) -> None:
    item = trained(1)
    service.trainer.feed.append(item)
    version = await recorded(service)
    assert (version.version, list(version.classes), version.metrics["test/map50"]) == (1, CLASSES, 0.75)
    assert (version.input.height, version.input.width, version.input.resize) == (32, 32, "letterbox")
    lineage = version.lineage
    assert (lineage.job, lineage.dataset_version, lineage.seed) == (item.job.name, DATASET, 5)
    assert (lineage.recipe, lineage.base_digest) == ("recipes/yolo-detect 1", "sha256:base")
    assert lineage.parameters["epochs"] == 3
    found = await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
    assert found == version
    assert service.datasets.held == {(DATASET, f"projects/pets/models/pets/versions/{version.uid}")}


async def test_an_imported_model_becomes_a_version_that_holds_no_data(service: Service) -> None:
    service.datasets.down = True
    item = imported(1)
    service.trainer.feed.append(item)
    version = await recorded(service)
    assert (list(version.classes), version.input.height) == (CLASSES, 32)
    lineage = version.lineage
    assert (lineage.job, lineage.dataset_version, lineage.dataset_hash) == (item.job.name, "", "")
    assert (lineage.base, lineage.base_digest) == ("mine.pt", "sha256:mine")
    await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="onnx"))
    [asked] = service.trainer.created
    assert (asked.job.recipe, asked.job.dataset_version) == ("recipes/yolo-detect", "")
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_result_that_comes_again_makes_no_second_version(service: Service) -> None:
    first = trained(1)
    again = trained(2, job_uid=first.result.job_uid)
    service.trainer.feed += [first, again, trained(3)]
    second = await recorded(service, f"{V1[:-1]}2")
    assert second.lineage.job_uid == service.trainer.feed[2].result.job_uid
    latest = await service.models.GetModelVersion(
        GetModelVersionRequest(name="projects/pets/models/pets/versions/latest")
    )
    assert latest == second


@pytest.mark.parametrize("wrong", [{"seed": "many"}, {"classes": None}, {"input": {"height": "tall"}}])
async def test_a_result_that_makes_no_sense_does_not_hold_up_those_after_it(
    service: Service, wrong: dict[str, object]
) -> None:
    odd = trained(1)
    odd.result.details.update(wrong)  # type: ignore[arg-type]
    service.trainer.feed += [odd, trained(2)]
    version = await recorded(service)
    assert version.lineage.job_uid == service.trainer.feed[1].result.job_uid
    assert len(service.datasets.held) == 1, "a version that will never be must not keep its data"


async def test_a_result_waits_while_its_dataset_cannot_be_held(service: Service) -> None:
    service.datasets.down = True
    service.trainer.feed.append(trained(1))
    await asyncio.sleep(0.3)
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent="projects/-/models/-"))
    assert not listed.model_versions
    service.datasets.down = False
    await recorded(service)


async def test_versions_and_models_page_without_loss(service: Service) -> None:
    service.trainer.feed += [trained(n, model=f"pets-{n % 3}") for n in range(1, 8)]
    await recorded(service, "projects/pets/models/pets-1/versions/3")
    names, token = [], ""
    while True:
        request = ListModelVersionsRequest(parent="projects/pets/models/-", page_size=3, page_token=token)
        page = await service.models.ListModelVersions(request)
        names += [version.name for version in page.model_versions]
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 7
    models = await service.models.ListModels(ListModelsRequest(parent="projects/-"))
    assert [(model.name[-6:], model.latest_version) for model in models.models] == [
        ("pets-0", 2),
        ("pets-1", 3),
        ("pets-2", 2),
    ]
    assert models.total_size == 3


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


async def test_an_unknown_format_names_the_known_ones(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1, format="tflite"))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "onnx" in (refused.value.details() or "")


async def test_a_deleted_version_stays_away_and_frees_its_files_and_data(service: Service) -> None:
    item = trained(1)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await recorded(service)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await gone(service, key)
    service.trainer.feed.append(trained(2))
    assert (await recorded(service, f"{V1[:-1]}2")).version == 2
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.GetModelVersion(GetModelVersionRequest(name=V1))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_deleted_model_goes_with_all_it_has_and_its_name_is_free(service: Service, tmp_path: Path) -> None:
    item = await with_variant(with_facts(trained(1)), service.objects, write_model(tmp_path / "m", BOX, side=32))
    keys = [artifact.logical_key for artifact in item.result.artifacts]
    service.trainer.feed += [item, trained(2), trained(3, model="other")]
    await recorded(service, "projects/pets/models/other/versions/1")
    optimize = OptimizeModelVersionRequest(name=f"{V1[:-1]}2", request_id="once")
    asked = await service.models.OptimizeModelVersion(optimize)
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    listed = await service.models.ListModels(ListModelsRequest(parent="projects/pets"))
    assert [model.name for model in listed.models] == ["projects/pets/models/other"]
    async with asyncio.timeout(20):
        while any([await service.objects.stat(key) for key in keys]) or len(service.datasets.held) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    again = trained(4, job_uid=item.result.job_uid)
    service.trainer.feed += [again, trained(5), trained(6)]
    await recorded(service, f"{V1[:-1]}2")
    uids = {one.result.job_uid for one in service.trainer.feed[-2:]}
    assert {(await recorded(service, f"{V1[:-1]}{number}")).lineage.job_uid for number in (1, 2)} == uids
    assert (await service.models.OptimizeModelVersion(optimize)).uid != asked.uid


async def test_the_newest_version_of_a_model_is_one_that_is_there(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, f"{V1[:-1]}2")
    for number, left in ((2, 1), (1, 0)):
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=f"{V1[:-1]}{number}"))
        assert (await service.models.GetModel(GetModelRequest(name=PETS))).latest_version == left
    service.trainer.feed.append(trained(3))
    assert (await recorded(service, f"{V1[:-1]}3")).version == 3


async def test_what_is_recorded_while_its_model_is_deleted_is_there_or_gone_with_it(service: Service) -> None:
    service.trainer.feed += [trained(number) for number in range(1, 30)]
    deletions = 0
    async with asyncio.timeout(20):
        while not await feed_is_read(service, 29):
            with suppress(grpc.aio.AioRpcError):
                await service.models.DeleteModel(DeleteModelRequest(name=PETS))
                deletions += 1
            await asyncio.sleep(0.01)
    assert deletions
    async with service.app._db.read() as tx:
        left = await models.list_versions(tx, project=None, model_id=None, before=None, limit=100)
        kept = (await tx.execute(sa.select(MODELS.c.latest_version))).all()
        assert await results.refusal(tx, "projects/pets/jobs/none", "") is None
    assert sorted(version.number for version in left) == list(range(1, len(left) + 1))
    assert [row.latest_version for row in kept] == ([len(left)] if kept else [])
    async with asyncio.timeout(20):
        while len(service.datasets.held) != len(left):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def feed_is_read(service: Service, sequence: int) -> bool:
    async with service.app._db.read() as tx:
        return await results.feed_sequence(tx, FEED) == sequence


async def gone(service: Service, key: str) -> None:
    async with asyncio.timeout(20):
        while await service.objects.stat(key) is not None or service.datasets.held:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_version_deleted_while_a_neighbour_is_away_leaves_nothing_in_the_end(service: Service) -> None:
    item = trained(1)
    key = item.result.artifacts[0].logical_key
    await service.objects.put(key, b"weights")
    service.trainer.feed.append(item)
    await recorded(service)
    service.datasets.down = True
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await asyncio.sleep(0.3)
    assert service.datasets.held
    service.datasets.down = False
    await gone(service, key)


async def test_files_of_a_variant_that_was_deleted_while_it_was_made_go_with_its_job(
    service: Service, tmp_path: Path
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    directory = write_model(tmp_path / "model", one_box(16, 16, 8, 4, [0.9, 0.1]), side=32)
    made = await optimized(2, variant.job, service.objects, directory)
    service.trainer.uids[variant.job] = made.result.job_uid
    service.trainer.feed.append(made)
    await asyncio.sleep(0.5)
    key = made.result.artifacts[0].logical_key
    assert await service.objects.stat(key) is not None, "its job still shows them"
    service.trainer.uids[variant.job] = "another job of that name"
    await gone(service, key)


async def test_a_result_that_can_never_be_recorded_holds_up_none_and_says_why(service: Service) -> None:
    stuck = trained(1)
    stuck.job.dataset_version = service.datasets.refused = "projects/pets/datasets/going/versions/1"
    odd = trained(2)
    odd.job.model = "no name of a model"
    service.trainer.feed += [stuck, odd, trained(3)]
    version = await recorded(service)
    assert version.lineage.job_uid == service.trainer.feed[2].result.job_uid
    for item, why in ((stuck, "being deleted"), (odd, "no name of a model")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.models.FindModelVersion(FindModelVersionRequest(job=item.job.name))
        assert error_info(to_status(refused.value)).reason == "RESULT_REFUSED"
        assert why in (refused.value.details() or "")


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


async def test_data_is_held_under_the_name_that_people_give_the_version(service: Service) -> None:
    items = [trained(1), trained(2), trained(3, model="other")]
    service.trainer.feed += items
    second = await recorded(service, f"{V1[:-1]}2")
    await recorded(service, "projects/pets/models/other/versions/1")
    called = ["models/other@1", "models/pets@1", "models/pets@2"]
    assert sorted(service.datasets.titles.values()) == called
    (connection,) = service.app._channels.values()
    late = Follower(service.app._db, jobs=JobServiceStub(connection), datasets=DatasetServiceStub(connection))
    for item in items:
        await late.record(item)
    assert sorted(service.datasets.titles.values()) == called
    assert service.datasets.titles[f"{PETS}/versions/{second.uid}"] == "models/pets@2"


async def test_a_replica_that_comes_late_holds_no_data_of_a_version_that_is_gone(service: Service) -> None:
    item = trained(1)
    service.trainer.feed.append(item)
    await recorded(service)
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    await gone(service, "p/none")
    (connection,) = service.app._channels.values()
    late = Follower(service.app._db, jobs=JobServiceStub(connection), datasets=DatasetServiceStub(connection))
    await late.record(item)
    await gone(service, "p/none")


async def test_two_jobs_with_one_name_find_their_versions_by_uid_and_the_newer_without(
    service: Service,
) -> None:
    first, second = trained(1), trained(2)
    second.job.name = second.result.job = first.job.name
    service.trainer.feed += [first, second]
    await recorded(service, f"{V1[:-1]}2")
    for asked, made in (("", second), (first.result.job_uid, first), (second.result.job_uid, second)):
        request = FindModelVersionRequest(job=first.job.name, job_uid=asked)
        assert (await service.models.FindModelVersion(request)).lineage.job_uid == made.result.job_uid
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.FindModelVersion(FindModelVersionRequest(job=first.job.name, job_uid=uuid4().hex))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_versions_are_listed_as_they_were_recorded_whatever_the_clock_said(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    async with service.app._db.write() as tx:
        await tx.execute(sa.update(VERSIONS).values(create_time=datetime(2099, 1, 1, tzinfo=UTC)))
    service.trainer.feed.append(trained(2))
    await recorded(service, f"{V1[:-1]}2")
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent="projects/-/models/-"))
    assert [version.version for version in listed.model_versions] == [2, 1]


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


@pytest.mark.parametrize("kind", ["train", "optimize"])
async def test_files_of_a_variant_that_failed_go_with_its_job(service: Service, tmp_path: Path, kind: str) -> None:
    directory = write_model(tmp_path / "m", BOX, side=32)
    item = await with_variant(with_facts(trained(1)), service.objects, directory)
    item.result.variants[0].failure = "EXPORT_FAILED: 3 px off"
    service.trainer.feed.append(item if kind == "train" else trained(1))
    await recorded(service)
    if kind == "optimize":
        asked = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=V1))
        item = await optimized(2, asked.job, service.objects, directory)
        item.result.variants.add(id="onnx-fp32", format="onnx", role_prefix="variant/", failure="3 px off")
        service.trainer.feed.append(item)
        await variant_in(service, ModelVariant.STATE_FAILED)
    keys = [one.logical_key for one in item.result.artifacts if one.role.startswith("variant/")]
    async with asyncio.timeout(20):
        while any([await service.objects.stat(key) for key in keys]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert [one.role for one in (await recorded(service)).artifacts] == ["checkpoint"]


async def test_the_facts_of_a_model_are_its_versions(service: Service) -> None:
    service.trainer.feed += [trained(1), with_facts(trained(2), base_digest="sha256:base")]
    new, old = await recorded(service, f"{V1[:-1]}2"), await recorded(service)
    assert (new.task, list(new.classes), new.input) == (old.task, list(old.classes), old.input)
    for fact in ("base", "base_digest", "license", "seed"):
        assert getattr(new.lineage, fact) == getattr(old.lineage, fact)


async def test_the_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    db = Database.connect(database_url)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), METADATA)
        )
    await db.close()
    assert [one for one in differences if "alembic_version" not in str(one)] == []


async def test_an_older_registry_is_brought_up_to_date(empty_database_url: str) -> None:
    db = Database.connect(empty_database_url)
    async with db.write() as tx:
        await tx.run_sync(upgrade_to, "0001")
        await tx.execute(sa.insert(MODELS).values(old_model()))
        content = content_json(version_content(trained(1)))
        for number in range(4):
            # The later in the order of numbers, the earlier by the clock.
            time = datetime(2026, 1, 4 - number, tzinfo=UTC)
            row: dict[str, object] = {
                "uid": f"v{number}",
                "model_uid": "m",
                "number": number + 1,
                "job_uid": f"j{number}",
                "job": "j",
            }
            row |= {"content": content, "create_time": time, "deleted": number == 3}
            await tx.execute(sa.insert(OLD_VERSIONS).values(row))
        await tx.execute(sa.insert(VARIANTS).values(old_variant()))
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        versions = await models.list_versions(tx, project=None, model_id=None, before=None, limit=10)
        assert await models.is_forgotten(tx, "j3")
        assert await tx.scalar(sa.select(MODELS.c.latest_version)) == 3
    assert [(version.uid, version.ordinal) for version in versions] == [("v0", 4), ("v1", 3), ("v2", 2)]
    assert [variant.id for variant in versions[0].variants] == ["onnx-fp32"]
    async with db.write() as tx:
        assert await next_sequence(tx, "versions") == 5
    await db.close()


async def test_an_update_with_an_old_etag_is_refused_and_loses_nothing(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    name = "projects/pets/models/pets"
    read = await service.models.GetModel(GetModelRequest(name=name))
    changed = Model(name=name, display_name="Pets", etag=read.etag)
    assert (await service.models.UpdateModel(UpdateModelRequest(model=changed))).display_name == "Pets"
    late = Model(name=name, display_name="Cats", etag=read.etag)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.UpdateModel(UpdateModelRequest(model=late))
    assert refused.value.code() == grpc.StatusCode.ABORTED
    assert error_info(to_status(refused.value)).reason == "ETAG_MISMATCH"
    assert (await service.models.GetModel(GetModelRequest(name=name))).display_name == "Pets"


OLD_VERSIONS = sa.table(
    "versions",
    *(sa.column(name, sa.String) for name in ("uid", "model_uid", "job_uid", "job")),
    sa.column("number", sa.BigInteger),
    sa.column("content", sa.JSON),
    sa.column("create_time", UtcDateTime),
    sa.column("deleted", sa.Boolean),
)


def old_model() -> dict[str, object]:
    texts = {"uid": "m", "project": "pets", "id": "pets", "display_name": "Pets"}
    return texts | {"labels": {}, "create_time": NOW, "update_time": NOW, "revision": 1, "latest_version": 4}


def old_variant() -> dict[str, object]:
    texts = {"uid": "o", "version_uid": "v0", "id": "onnx-fp32", "format": "onnx", "precision": "fp32", "job": "j"}
    result = result_json(VariantResult())
    return texts | {"state": "READY", "reason": "", "result": result, "create_time": NOW, "update_time": NOW}


def upgrade_to(connection: sa.Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
