"""Model cards: all that is known of a version, here and at the dataset service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from bloomery.dataset.v1 import DatasetVersion, GetDatasetVersionRequest
from bloomery.inference.v1 import ModelCard, ModelEvaluation
from bloomery_inference.convert import version_message
from bloomery_inference.model import Evaluation, Lineage
from bloomery_inference.registry import version_in
from bloomery_inference.serving.holding import name_of
from bloomery_inference.store import deployments, evaluations, models
from bloomery_kit.database import Database
from bloomery_kit.times import to_timestamp

if TYPE_CHECKING:
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub

_EVALUATIONS = 100


class Cards:
    """Reads the record of a version from the database, and its data from the dataset service."""

    def __init__(self, db: Database, datasets: DatasetServiceAsyncStub) -> None:
        self._db = db
        self._datasets = datasets

    async def get(self, name: str) -> ModelCard:
        """The card of a version. Raise NotFound, or what the dataset service raises."""
        async with self._db.read() as tx:
            version = await models.name_version(tx, await version_in(tx, name))
            model = await models.get_model(tx, version.project, version.model)
            measured = await evaluations.of_version(tx, version.uid)
            users = await deployments.of_variants(tx, [variant.uid for variant in version.variants])
        assert model is not None
        return ModelCard(
            model_version=version_message(version),
            display_name=model.display_name,
            labels=model.labels,
            evaluations=map(_evaluation_message, measured[:_EVALUATIONS]),
            dataset_version=await self._data(version.content.lineage),
            deployments=map(name_of, users),
        )

    async def _data(self, lineage: Lineage) -> DatasetVersion | None:
        """The dataset version that a model was made from; None where there is none, or another one of its name now."""
        if not lineage.dataset_version:
            return None
        try:
            found = await self._datasets.GetDatasetVersion(GetDatasetVersionRequest(name=lineage.dataset_version))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return None
        return found if found.content_hash == lineage.dataset_hash else None


def _evaluation_message(evaluation: Evaluation) -> ModelEvaluation:
    return ModelEvaluation(
        job=evaluation.job,
        dataset_version=evaluation.dataset_version,
        metrics=evaluation.metrics,
        create_time=to_timestamp(evaluation.create_time),
        variant=evaluation.variant,
    )
