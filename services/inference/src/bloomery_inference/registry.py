"""The registry of models: what the servicer does, without protobuf of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from bloomery.dataset.v1 import ReleaseReferenceRequest
from bloomery_inference import store
from bloomery_inference.convert import model_etag, optimize_job
from bloomery_inference.model import Artifact, Model, ModelVersion, Variant, VariantState
from bloomery_inference.names import MODEL, VARIANT, Selector, parse_selector
from bloomery_kit.database import Database
from bloomery_kit.errors import FieldViolation, InvalidArgument, NotFound
from bloomery_kit.etags import check_etag
from bloomery_kit.objects import ObjectStore
from bloomery_kit.pages import Cursor, PageRequest
from bloomery_kit.times import Clock, utc_now

if TYPE_CHECKING:
    from bloomery.dataset.v1.dataset_service_pb2_grpc import DatasetServiceAsyncStub
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

T = TypeVar("T")
FORMATS = {"onnx": ("fp32",)}
"""Formats that can be made, with their precisions; the first is the default."""


class Registry:
    """Models, versions and variants in the database, files in the object store, jobs at the trainer."""

    def __init__(
        self,
        db: Database,
        objects: ObjectStore,
        *,
        jobs: JobServiceAsyncStub,
        datasets: DatasetServiceAsyncStub,
        clock: Clock = utc_now,
    ) -> None:
        self._db = db
        self._objects = objects
        self._jobs = jobs
        self._datasets = datasets
        self._clock = clock

    async def get_model(self, name: str) -> Model:
        """A model. Raise NotFound."""
        ids = MODEL.parse(name)
        async with self._db.read() as tx:
            model = await store.get_model(tx, ids["project"], ids["model"])
        if model is None:
            raise NotFound("model", name, hint="list the models")
        return model

    async def list_models(
        self, page: PageRequest, *, project: str | None, model_id: str | None
    ) -> tuple[list[Model], str, int]:
        """One page of models, the next page's token and how many there are."""
        after = (str(page.cursor[0]), str(page.cursor[1])) if page.cursor else None
        async with self._db.read() as tx:
            models = await store.list_models(tx, project=project, model_id=model_id, after=after, limit=page.size + 1)
            total = await store.count_models(tx, project=project, model_id=model_id)
        shown, token = _page(models, page, lambda model: (model.project, model.id))
        return shown, token, total

    async def update_model(self, name: str, etag: str, values: Mapping[str, object]) -> Model:
        """Change a model's own fields. Raise NotFound or EtagMismatch."""
        ids = MODEL.parse(name, "model.name")
        async with self._db.write() as tx:
            model = await store.get_model(tx, ids["project"], ids["model"])
            if model is None:
                raise NotFound("model", name, hint="list the models")
            check_etag(etag, model_etag(model), name)
            if values:
                await store.update_model(tx, model, values, self._clock())
        return await self.get_model(name)

    async def get_version(self, name: str, field: str = "name") -> ModelVersion:
        """A version with its variants. Raise NotFound."""
        async with self._db.read() as tx:
            version = await store.get_version(tx, parse_selector(name, field))
        if version is None:
            raise NotFound("model version", name, hint="list the versions of the model")
        return version

    async def find_version(self, job: str) -> ModelVersion:
        """The version that a job made. Raise NotFound."""
        async with self._db.read() as tx:
            version = await store.find_version(tx, job)
        if version is None:
            raise NotFound("model version", job, hint="it is recorded some moments after its job has succeeded")
        return version

    async def list_versions(
        self, page: PageRequest, *, project: str | None, model_id: str | None
    ) -> tuple[list[ModelVersion], str]:
        """One page of versions, newest first, and the next page's token."""
        after = (datetime.fromisoformat(str(page.cursor[0])), str(page.cursor[1])) if page.cursor else None
        async with self._db.read() as tx:
            versions = await store.list_versions(
                tx, project=project, model_id=model_id, after=after, limit=page.size + 1
            )
        return _page(versions, page, lambda version: (version.create_time.isoformat(), version.uid))

    async def delete_version(self, name: str) -> None:
        """Forget a version with its variants and remove their files. Raise NotFound."""
        version = await self.get_version(name)
        async with self._db.write() as tx:
            if not await store.delete_version(tx, version.uid):
                raise NotFound("model version", name, hint="it is gone already")
        await self._remove(version.content.artifacts)
        for variant in version.variants:
            await self._remove(variant.result.artifacts)
        if dataset_version := version.content.lineage.dataset_version:
            model = MODEL.format(project=version.project, model=version.model)
            holder = f"{model}/versions/{version.uid}"
            await self._datasets.ReleaseReference(ReleaseReferenceRequest(resource=dataset_version, holder=holder))

    async def optimize(self, name: str, *, format: str, precision: str) -> Variant:
        """Ask for a variant and the job that makes it. Raise NotFound, InvalidArgument or what the trainer refuses."""
        precision = _checked(format, precision)
        version = await self.get_version(name)
        async with self._db.write() as tx:
            await store.request_variant(tx, version, format=format, precision=precision, now=self._clock())
            variants = await store.variants_of(tx, version.uid)
        variant = next(variant for variant in variants if variant.id == f"{format}-{precision}")
        if variant.state is VariantState.PENDING:
            # The job's name and request id are the variant's own: after a crash or in a race it is the same job.
            await self._jobs.CreateJob(optimize_job(version, variant))
        return variant

    async def get_variant(self, name: str) -> Variant:
        """A variant. Raise NotFound."""
        ids = VARIANT.parse(name)
        async with self._db.read() as tx:
            version = await store.get_version(tx, Selector(ids["project"], ids["model"], ids["version"]))
        variants = version.variants if version else ()
        for variant in variants:
            if variant.id == ids["variant"]:
                return variant
        raise NotFound("model variant", name, hint="list the variants of the version, or make it with an optimization")

    async def delete_variant(self, name: str) -> None:
        """Forget a variant and remove its files. Raise NotFound."""
        variant = await self.get_variant(name)
        async with self._db.write() as tx:
            if not await store.delete_variant(tx, variant.uid):
                raise NotFound("model variant", name, hint="it is gone already")
        await self._remove(variant.result.artifacts)

    async def _remove(self, artifacts: tuple[Artifact, ...]) -> None:
        for artifact in artifacts:
            await self._objects.delete(artifact.logical_key)


def _checked(format: str, precision: str) -> str:
    precisions = FORMATS.get(format)
    if precisions is None:
        raise InvalidArgument([FieldViolation("format", f"must be one of {', '.join(FORMATS)}, not {format!r}")])
    if precision and precision not in precisions:
        raise InvalidArgument([FieldViolation("precision", f"must be one of {', '.join(precisions)} for {format}")])
    return precision or precisions[0]


def _page(items: list[T], page: PageRequest, cursor: Callable[[T], Cursor]) -> tuple[list[T], str]:
    shown = items[: page.size]
    return shown, page.next_token(cursor(shown[-1])) if len(items) > page.size else ""
