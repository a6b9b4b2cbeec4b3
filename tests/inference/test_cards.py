"""A model card has all that is known of a version, here and at the dataset service."""

import grpc
import pytest

from bloomery.dataset.v1 import DatasetStatistics, DatasetVersion, SplitStatistics
from bloomery.inference.v1 import (
    GetModelCardRequest,
    Model,
    ModelCard,
    SetModelAliasRequest,
    UpdateModelRequest,
)
from tests.inference.asking import PETS, V1, recorded, until
from tests.inference.conftest import Service
from tests.inference.samples import DATASET, evaluated, imported, trained

DATA = DatasetVersion(
    name=DATASET,
    content_hash="sha256:data",
    statistics=DatasetStatistics(splits=[SplitStatistics(split="train", image_count=3, shapes={"cat": 5})]),
)


async def card(service: Service, name: str = V1) -> ModelCard:
    return await service.models.GetModelCard(GetModelCardRequest(name=name))


async def test_a_card_has_the_version_with_its_data_and_what_was_measured_since(service: Service) -> None:
    service.datasets.versions[DATASET] = DATA
    first, second = evaluated(2, {"test/map50": 0.6}), evaluated(3, {"val/map50": 0.7})
    service.trainer.feed += [trained(1), first, second]
    await recorded(service)
    wanted = Model(name=PETS, display_name="Pets", labels={"team": "cells"})
    await service.models.UpdateModel(UpdateModelRequest(model=wanted))
    await service.models.SetModelAlias(SetModelAliasRequest(name=f"{PETS}/aliases/champion", model_version=V1))
    found = await until(lambda: card(service, f"{PETS}/versions/champion"), lambda shown: len(shown.evaluations) == 2)
    version = found.model_version
    assert (version.name, list(version.aliases), dict(version.metrics)) == (V1, ["champion"], {"test/map50": 0.75})
    assert (found.display_name, dict(found.labels)) == ("Pets", {"team": "cells"})
    assert [(one.job, dict(one.metrics)) for one in found.evaluations] == [
        (second.job.name, {"val/map50": 0.7}),
        (first.job.name, {"test/map50": 0.6}),
    ]
    assert found.dataset_version == DATA


async def test_data_that_is_gone_or_another_s_is_left_out(service: Service) -> None:
    service.trainer.feed += [trained(1), imported(2)]
    await recorded(service, f"{PETS}/versions/2")
    assert not (await card(service)).HasField("dataset_version")
    service.datasets.versions[DATASET] = DatasetVersion(name=DATASET, content_hash="sha256:another")
    assert not (await card(service)).HasField("dataset_version")
    assert not (await card(service, f"{PETS}/versions/2")).HasField("dataset_version")


async def test_a_neighbour_that_is_away_is_said(service: Service) -> None:
    service.trainer.feed.append(trained(1))
    await recorded(service)
    service.datasets.down = True
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await card(service)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    service.datasets.down = False
