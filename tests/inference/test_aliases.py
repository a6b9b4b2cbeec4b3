"""Aliases name versions wherever a version is named, move for one at a time, and remember every move."""

import asyncio

import grpc
import pytest
import sqlalchemy as sa

from bloomery.inference.v1 import (
    DeleteModelAliasRequest,
    DeleteModelRequest,
    DeleteModelVersionRequest,
    GetModelAliasRequest,
    GetModelVersionRequest,
    ListModelAliasChangesRequest,
    ListModelAliasesRequest,
    ListModelVersionsRequest,
    ModelAlias,
    ModelAliasChange,
    OptimizeModelVersionRequest,
    SetModelAliasRequest,
    SignModelArtifactsRequest,
)
from bloomery_inference.store.tables import ALIAS_CHANGES, ALIASES
from bloomery_kit.errors import error_info, to_status
from tests.inference.asking import PETS, V1, fields_of, recorded, subjects_of
from tests.inference.conftest import Service
from tests.inference.samples import trained

CHAMPION = f"{PETS}/aliases/champion"
V2 = f"{PETS}/versions/2"


async def two_versions(service: Service) -> None:
    service.trainer.feed += [trained(1), trained(2)]
    await recorded(service, V2)


async def put(service: Service, version: str, *, name: str = CHAMPION, **fields: object) -> ModelAlias:
    request = SetModelAliasRequest(name=name, model_version=version, **fields)  # type: ignore[arg-type]
    return await service.models.SetModelAlias(request)


async def changes(service: Service, name: str = CHAMPION) -> list[ModelAliasChange]:
    listed = await service.models.ListModelAliasChanges(ListModelAliasChangesRequest(parent=name))
    return list(listed.model_alias_changes)


async def test_a_version_is_found_by_its_alias_and_answers_with_its_number(service: Service) -> None:
    await two_versions(service)
    await put(service, V1)
    asked = f"{PETS}/versions/champion"
    found = await service.models.GetModelVersion(GetModelVersionRequest(name=asked))
    assert (found.name, list(found.aliases)) == (V1, ["champion"])
    await put(service, f"{PETS}/versions/latest")
    found = await service.models.GetModelVersion(GetModelVersionRequest(name=asked))
    assert (found.name, list(found.aliases)) == (V2, ["champion"])
    listed = await service.models.ListModelVersions(ListModelVersionsRequest(parent=PETS))
    assert [list(version.aliases) for version in listed.model_versions] == [["champion"], []]
    variant = await service.models.OptimizeModelVersion(OptimizeModelVersionRequest(name=asked))
    assert variant.name.startswith(f"{V2}/variants/")
    assert service.trainer.created[-1].job.model_version == V2
    signed = await service.models.SignModelArtifacts(SignModelArtifactsRequest(name=asked))
    assert len(signed.artifacts) == 1


async def test_every_move_is_remembered_with_who_and_why_also_the_last_one(service: Service) -> None:
    await two_versions(service)
    await put(service, V1, reason="the first")
    made = await put(service, V2, reason="fewer misses")
    assert (made.model_version, made.updater, made.reason) == (V2, "owner", "fewer misses")
    await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=CHAMPION, reason="retired"))
    told = [(one.from_version, one.to_version, one.changer, one.reason) for one in await changes(service)]
    assert told == [
        (V2, "", "owner", "retired"),
        (V1, V2, "owner", "fewer misses"),
        ("", V1, "owner", "the first"),
    ]
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await service.models.GetModelVersion(GetModelVersionRequest(name=f"{PETS}/versions/champion"))
    assert missing.value.code() == grpc.StatusCode.NOT_FOUND
    assert "aliases" in str(missing.value.details())


async def test_the_history_is_paged_while_it_grows(service: Service) -> None:
    await two_versions(service)
    for turn in range(4):
        await put(service, (V1, V2)[turn % 2])
    request = ListModelAliasChangesRequest(parent=CHAMPION, page_size=3)
    first = await service.models.ListModelAliasChanges(request)
    await put(service, V1)
    request.page_token = first.next_page_token
    second = await service.models.ListModelAliasChanges(request)
    numbers = [one.sequence for page in (first, second) for one in page.model_alias_changes]
    assert numbers == [4, 3, 2, 1]
    assert not second.next_page_token


async def test_where_it_is_already_nothing_happens(service: Service) -> None:
    await two_versions(service)
    await put(service, V1, reason="the first")
    again = await put(service, V1, reason="once more", expected_version=2)
    assert again.reason == "the first"
    assert len(await changes(service)) == 1


@pytest.mark.parametrize("expected", [0, 1])
async def test_of_two_who_move_it_at_once_one_is_told(service: Service, expected: int) -> None:
    service.trainer.feed += [trained(number) for number in range(1, 5)]
    await recorded(service, f"{PETS}/versions/4")
    if expected:
        await put(service, V1)
    wanted = [f"{PETS}/versions/{number}" for number in (2, 3, 4)]
    answers = await asyncio.gather(
        *(put(service, version, expected_version=expected) for version in wanted), return_exceptions=True
    )
    refused = [one for one in answers if isinstance(one, BaseException)]
    assert len(refused) == 2
    for one in refused:
        assert isinstance(one, grpc.aio.AioRpcError)
        assert one.code() == grpc.StatusCode.ABORTED
        assert error_info(to_status(one)).reason == "ALIAS_MOVED"
        assert "owner" in str(one.details())
    assert len(await changes(service)) == (2 if expected else 1)


async def test_an_alias_that_moved_meanwhile_is_not_removed(service: Service) -> None:
    await two_versions(service)
    await put(service, V2)
    with pytest.raises(grpc.aio.AioRpcError, match="names version 2") as refused:
        await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=CHAMPION, expected_version=1))
    assert error_info(to_status(refused.value)).reason == "ALIAS_MOVED"
    await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=CHAMPION, expected_version=2))
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await service.models.DeleteModelAlias(DeleteModelAliasRequest(name=CHAMPION))
    assert gone.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_repeat_that_comes_late_does_not_move_it_back(service: Service) -> None:
    await two_versions(service)
    first = await put(service, V1, request_id="once")
    await put(service, V2)
    assert await put(service, V1, request_id="once") == first
    found = await service.models.GetModelAlias(GetModelAliasRequest(name=CHAMPION))
    assert found.model_version == V2
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await put(service, V2, request_id="once")
    assert error_info(to_status(reused.value)).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    "alias", ["2", "latest", "0123456789abcdef0123456789abcdef", "Champion", "a_b", "-a", "a" * 64]
)
async def test_what_names_a_version_in_another_way_is_no_alias(service: Service, alias: str) -> None:
    await two_versions(service)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(service, V1, name=f"{PETS}/aliases/{alias}")
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert fields_of(refused.value) == ["name"]


async def test_all_that_is_wrong_is_told_at_once(service: Service) -> None:
    await two_versions(service)
    wrong = {"reason": "x" * 2000, "expected_version": -1}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(service, V1, name=f"{PETS}/aliases/latest", **wrong)
    assert set(fields_of(refused.value)) == {"name", "reason", "expected_version"}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await put(service, "projects/pets/models/others/versions/1")
    assert fields_of(refused.value) == ["model_version"]


async def test_a_version_that_an_alias_names_is_not_deleted(service: Service) -> None:
    await two_versions(service)
    await put(service, V1)
    await put(service, V1, name=f"{PETS}/aliases/stable")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert subjects_of(refused.value) == [CHAMPION, f"{PETS}/aliases/stable"]
    with pytest.raises(grpc.aio.AioRpcError, match="number"):
        await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=f"{PETS}/versions/champion"))
    for alias in ("champion", "stable"):
        await put(service, V2, name=f"{PETS}/aliases/{alias}")
    await service.models.DeleteModelVersion(DeleteModelVersionRequest(name=V1))
    assert [one.to_version for one in await changes(service)] == [V2, V1]


async def test_a_model_goes_with_its_aliases_and_their_history(service: Service) -> None:
    await two_versions(service)
    await put(service, V1)
    await service.models.DeleteModel(DeleteModelRequest(name=PETS))
    async with service.app._db.read() as tx:
        for table in (ALIASES, ALIAS_CHANGES):
            assert await tx.scalar(sa.select(sa.func.count()).select_from(table)) == 0


async def test_aliases_are_listed_in_the_order_of_their_ids(service: Service) -> None:
    await two_versions(service)
    for alias in ("stable", "champion", "candidate"):
        await put(service, V1, name=f"{PETS}/aliases/{alias}")
    request = ListModelAliasesRequest(parent=PETS, page_size=2)
    first = await service.models.ListModelAliases(request)
    request.page_token = first.next_page_token
    second = await service.models.ListModelAliases(request)
    listed = [one.name.rpartition("/")[2] for page in (first, second) for one in page.model_aliases]
    assert listed == ["candidate", "champion", "stable"]
