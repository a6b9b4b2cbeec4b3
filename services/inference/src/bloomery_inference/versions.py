"""What people say of a version, whether it is offered, and what would go with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import TYPE_CHECKING

from bloomery.training.v1 import ListJobsRequest
from bloomery_inference.convert import version_etag, version_name
from bloomery_inference.model import Deletion, ModelVersion
from bloomery_inference.names import MODEL, check_lasting, parse_selector
from bloomery_inference.registry import check_nameless, version_in
from bloomery_inference.serving.holding import check_undeployed, name_of
from bloomery_inference.store import deployments, evaluations, models
from bloomery_kit.database import Database, Transaction
from bloomery_kit.errors import NotFound
from bloomery_kit.etags import check_etag

if TYPE_CHECKING:
    from bloomery.training.v1 import Job
    from bloomery.training.v1.job_service_pb2_grpc import JobServiceAsyncStub

_PAGE = 1000


class Versions:
    """Changes of versions; whoever makes one holds the lock of its model, so that no alias is put there meanwhile."""

    def __init__(self, db: Database, jobs: JobServiceAsyncStub) -> None:
        self._db = db
        self._jobs = jobs

    async def preview_deletion(self, name: str) -> Deletion:
        """What would go with a model or a version. Raise NotFound, InvalidArgument, or what the trainer raises."""
        async with self._db.read() as tx:
            found = await _of_model(tx, name) if MODEL.matches(name) else await _of_version(tx, name)
            counted = await evaluations.count(tx, [version.uid for version in found])
            users = await deployments.of_variants(
                tx, [variant.uid for version in found for variant in version.variants]
            )
        deletion = Deletion(tuple(found), counted, deployments=tuple(map(name_of, users)))
        keys = {artifact.logical_key for artifact in deletion.files}
        project = name.partition("/models/")[0]
        return replace(deletion, jobs=tuple(await self._working_on(keys, project)) if keys else ())

    async def _working_on(self, keys: AbstractSet[str], project: str) -> list[str]:
        """The jobs of a project that are not over and work on one of some files."""
        found: list[str] = []
        request = ListJobsRequest(parent=project, filter="active", page_size=_PAGE)
        while True:
            page = await self._jobs.ListJobs(request)
            found += [job.name for job in page.jobs if not keys.isdisjoint(_read_by(job))]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def update(self, name: str, etag: str, values: Mapping[str, object]) -> ModelVersion:
        """Change a version by column.

        Raise NotFound, EtagMismatch, FailedPrecondition VERSION_HAS_ALIASES or DEPLOYED.
        """
        check_lasting(name, "model_version.name")
        selector = parse_selector(name)
        async with self._db.write() as tx:
            await models.lock_model(tx, selector.project, selector.model)
            version = await models.get_version(tx, selector)
            if version is None:
                raise NotFound("model version", name, hint="list the versions of the model")
            version = await models.name_version(tx, version)
            # A repeat whose first answer was lost finds what it wants, and another etag.
            if all(getattr(version, column) == value for column, value in values.items()):
                return version
            check_etag(etag, version_etag(version), version_name(version))
            if values.get("active") is False:
                check_nameless(version)
                await check_undeployed(tx, version_name(version), [variant.uid for variant in version.variants])
            await models.update_version(tx, version, values)
            return replace(version, revision=version.revision + 1, **values)  # type: ignore[arg-type]


def _read_by(job: Job) -> Iterator[str]:
    """Keys of the files that a job works on."""
    return (one.logical_key for one in (job.base_artifact, *job.variant_artifacts))


async def _of_model(tx: Transaction, name: str) -> list[ModelVersion]:
    ids = MODEL.parse(name)
    model = await models.get_model(tx, ids["project"], ids["model"])
    if model is None:
        raise NotFound("model", name, hint="it is gone already")
    return await models.of_model(tx, model.uid)


async def _of_version(tx: Transaction, name: str) -> list[ModelVersion]:
    check_lasting(name)
    return [await models.name_version(tx, await version_in(tx, name))]
