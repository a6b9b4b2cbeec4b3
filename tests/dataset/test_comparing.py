"""In what two versions differ, and which versions hold an image."""

import grpc
import pytest

from bloomery.dataset.v1 import CompareDatasetVersionsRequest, DatasetSpec, ListDatasetVersionsRequest, SplitPolicy
from bloomery.vision.v1 import TaskType
from bloomery_dataset import build
from bloomery_kit.errors import error_info, to_status
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import DATASET, PARENT, Service, box

OFFICIAL = DatasetSpec(
    task=TaskType.TASK_TYPE_DETECT, split=SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL), include_empty=True
)


async def holding(service: Service, asset: str, *, page_size: int = 50) -> list[str]:
    names, request = [], ListDatasetVersionsRequest(parent=f"{PARENT}/datasets/-", page_size=page_size)
    request.filter = f"asset:{PARENT}/assets/{asset}"
    while True:
        page = await service.stub.ListDatasetVersions(request)
        names += [version.name for version in page.dataset_versions]
        request.page_token = page.next_page_token
        if not request.page_token:
            return names


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SHARD_ROWS", 2)
    monkeypatch.setattr(build, "_SLICE", 1)


@pytest.mark.usefixtures("small_shards")
async def test_what_is_added_removed_moved_and_relabelled_is_counted(service: Service, fake: FakeAnnotations) -> None:
    for number in range(5):
        fake.add(number, [box()], split="train")
    first = await service.build(OFFICIAL)
    fake.add(0, [box("wbc")], split="train")
    fake.add(1, [box()], split="val")
    fake.add(7, [box()], split="train")
    fake.add(8, [box("platelets")], split="test")
    second = await service.build(OFFICIAL)
    request = CompareDatasetVersionsRequest(name=first.name, other=f"{DATASET}/versions/latest")
    found = await service.stub.CompareDatasetVersions(request)
    assert (found.name, found.other) == (first.name, second.name)
    assert (found.image_count, found.other_image_count) == (5, 7)
    assert (found.added_count, found.removed_count, found.moved_count, found.relabelled_count) == (2, 0, 1, 1)
    back = await service.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=second.name, other=first.name))
    assert (back.added_count, back.removed_count, back.moved_count, back.relabelled_count) == (0, 2, 1, 1)
    same = await service.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=first.name, other=first.name))
    assert (same.added_count, same.removed_count, same.moved_count, same.relabelled_count) == (0, 0, 0, 0)


async def test_classes_that_one_has_and_the_other_not_are_named(service: Service, fake: FakeAnnotations) -> None:
    fake.add(0, [box(), box("wbc")], split="train")
    mapped = DatasetSpec()
    mapped.CopyFrom(OFFICIAL)
    mapped.class_mapping.update({"rbc": "cell", "wbc": "WBC"})
    first, second = await service.build(OFFICIAL), await service.build(mapped)
    request = CompareDatasetVersionsRequest(name=first.name, other=second.name)
    found = await service.stub.CompareDatasetVersions(request)
    assert list(found.added_classes) == ["cell"]
    assert set(found.removed_classes) == {"RBC", "Platelets"}
    assert found.relabelled_count == 1


@pytest.mark.parametrize("other", ["cells", "projects/others/datasets/cells-v/versions/1"])
async def test_another_project_s_version_is_not_compared(service: Service, fake: FakeAnnotations, other: str) -> None:
    fake.add(0, [box()], split="train")
    version = await service.build(OFFICIAL)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=version.name, other=other))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "other" in str(refused.value.details())


async def test_a_version_that_is_not_ready_is_not_compared(idle: Service, fake: FakeAnnotations) -> None:
    fake.add(0, [box()], split="train")
    version = await idle.create(OFFICIAL)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await idle.stub.CompareDatasetVersions(CompareDatasetVersionsRequest(name=version.name, other=version.name))
    assert error_info(to_status(refused.value)).reason == "NOT_READY"


@pytest.mark.usefixtures("small_shards")
async def test_the_versions_that_hold_an_image_are_found_whatever_the_page(
    service: Service, fake: FakeAnnotations
) -> None:
    old = [fake.add(number, [box()], split="train") for number in range(5)]
    first = await service.build(OFFICIAL)
    new = fake.add(9, [box()], split="train")
    second = await service.build(OFFICIAL)
    for page_size in (1, 50):
        assert await holding(service, old[4], page_size=page_size) == [second.name, first.name]
        assert await holding(service, new, page_size=page_size) == [second.name]
    assert await holding(service, "nobody") == []


@pytest.mark.parametrize("wrong", ["asset:", "asset:x", "id:cells", "x"])
async def test_another_filter_is_refused(service: Service, wrong: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.ListDatasetVersions(ListDatasetVersionsRequest(parent=DATASET, filter=wrong))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
