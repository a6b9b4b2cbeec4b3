"""Creating jobs: everything is checked and filled in before anything is stored."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import grpc
from sqlalchemy.exc import IntegrityError

from bloomery_kit.database import Transaction
from bloomery_kit.errors import (
    AlreadyExists,
    BloomeryError,
    FailedPrecondition,
    NotFound,
    PreconditionViolation,
    ResourceExhausted,
    Violations,
)
from bloomery_kit.names import Pattern, new_uid, validate_id
from bloomery_trainer import inputs, reasons
from bloomery_trainer.checks import check_labels, check_priority, check_text
from bloomery_trainer.core import Core, belongs
from bloomery_trainer.holding import hold
from bloomery_trainer.model import Artifact, Job, Kind, Progress, Resources, Spec, State
from bloomery_trainer.neighbours import DatasetFacts
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.store import jobs

DATASET_VERSION = Pattern("projects/{project}/datasets/{dataset}/versions/{version}")
MODEL = Pattern("projects/{project}/models/{model}")
MODEL_VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
SCRATCH = "scratch"
_ON_DATASETS = frozenset({Kind.TRAIN, Kind.EVALUATE, Kind.PREDICT})
_OF_MODELS = frozenset({Kind.EVALUATE, Kind.PREDICT})
_log = logging.getLogger("bloomery.trainer")


@dataclass(frozen=True)
class Wish:
    """A job as its creator describes it."""

    project: str
    job_id: str
    display_name: str
    labels: Mapping[str, str]
    kind: Kind | None
    recipe: str
    parameters: Mapping[str, object]
    dataset_version: str
    base: str
    base_artifact: Artifact | None
    model: str
    model_version: str
    resources: Resources
    deadline_seconds: int
    priority: int
    group: str


class Creation:
    """Turns wishes into jobs."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def draft(self, wish: Wish, creator: str) -> Job:
        """The job that `wish` makes, stored nowhere yet.

        Raise InvalidArgument with all that is wrong, FailedPrecondition DATASET_NOT_READY, TASK_MISMATCH or
        INPUT_MISSING, ResourceExhausted TOO_MANY_JOBS or DISK_LOW.
        """
        recipe, spec = self._checked(wish)
        project_uid = await self._core.neighbours.project_uid(wish.project)
        _check_artifact(wish.base_artifact, project_uid)
        await inputs.check(self._core, wish.base_artifact, project_uid)
        dataset = await self._core.neighbours.dataset(spec.dataset_version) if spec.dataset_version else None
        spec = _with_dataset(spec, recipe, dataset, wish.project)
        await self._check_room(wish.project)
        now, uid = self._core.clock(), new_uid()
        job_id = wish.job_id or f"{spec.kind.name.lower()}-{uid[:12]}"
        return Job(
            uid=uid,
            number=0,
            project=wish.project,
            project_uid=project_uid,
            job_id=job_id,
            display_name=wish.display_name or job_id,
            labels=wish.labels,
            group=wish.group,
            spec=spec,
            priority=wish.priority,
            creator=creator,
            state=State.PENDING,
            version=1,
            reason=replace(reasons.created(), since=now),
            attempt=0,
            failures=0,
            infra_failures=0,
            retry_delay=0.0,
            force=False,
            holder=f"{wish.project}/jobs/{uid}",
            held=not spec.dataset_version and spec.base_artifact is None,
            deleted=False,
            progress=Progress(epochs=spec.epochs),
            last_sequence=0,
            oldest_sequence=1,
            worked_seconds=0.0,
            create_time=now,
            queue_time=now,
            update_time=now,
            start_time=None,
            end_time=None,
        )

    async def store(self, tx: Transaction, draft: Job) -> Job:
        """Write the job. Raise AlreadyExists if its id is taken, FailedPrecondition INPUT_MISSING."""
        await inputs.use(self._core, tx, draft)
        try:
            return await jobs.insert(tx, draft)
        except IntegrityError as error:
            raise AlreadyExists("job", draft.name) from error

    async def claim_inputs(self, uid: str) -> None:
        """Hold the inputs of a stored job; what fails now is repeated by the reconciler."""
        async with self._core.db.read() as tx:
            job = await jobs.find(tx, uid)
        if job is None or job.held or job.deleted:
            return
        try:
            await hold(self._core, job)
        except (BloomeryError, grpc.aio.AioRpcError) as error:
            _log.warning("the inputs of a job are not held yet", extra={"job": job.name, "error": error})

    def _checked(self, wish: Wish) -> tuple[Recipe, Spec]:
        violations = Violations()
        _check_texts(wish, violations)
        recipe = self._recipe(wish.recipe, violations)
        kind = _kind(wish.kind, recipe, violations)
        _check_inputs(wish, violations)
        effective = effective_parameters(recipe, kind, wish.parameters, violations) if recipe and kind else {}
        base = _base(wish, recipe, violations)
        violations.raise_if_any()
        assert recipe is not None
        assert kind is not None
        given = {name: value for name, value in wish.parameters.items() if isinstance(value, bool | int | float | str)}
        return recipe, Spec(
            kind=kind,
            recipe=wish.recipe,
            task=recipe.task,
            parameters=given,
            effective_parameters=effective,
            resources=_resources(wish.resources, recipe),
            dataset_version=wish.dataset_version,
            base=base,
            base_artifact=wish.base_artifact,
            model=wish.model,
            model_version=wish.model_version,
            deadline_seconds=wish.deadline_seconds,
        )

    def _recipe(self, name: str, violations: Violations) -> Recipe | None:
        try:
            return self._core.catalogue.get(name)
        except NotFound as error:
            violations.add("job.recipe", error.message)
            return None

    async def _check_room(self, project: str) -> None:
        limit = self._core.settings.max_pending_per_project
        async with self._core.db.read() as tx:
            waiting = await jobs.count_pending(tx, project)
        if waiting >= limit:
            message = f"{waiting} jobs of {project} wait already; cancel some or let them start"
            raise ResourceExhausted("TOO_MANY_JOBS", message, 60.0)
        free = await self._core.launcher.free_bytes()
        if free is not None and free < self._core.settings.min_free_bytes:
            needed = self._core.settings.min_free_bytes
            message = f"the server's disk has {free >> 20} MiB left and needs {needed >> 20} MiB; free some space"
            raise ResourceExhausted("DISK_LOW", message)


def _check_texts(wish: Wish, violations: Violations) -> None:
    if wish.job_id:
        validate_id(wish.job_id, "job_id", violations)
    if wish.group:
        validate_id(wish.group, "job.group", violations)
    check_text(wish.display_name, "job.display_name", violations)
    check_text(wish.base, "job.base", violations)
    if wish.base_artifact is not None:
        check_text(wish.base_artifact.file_name, "job.base_artifact.file_name", violations)
    check_labels(wish.labels, violations)
    check_priority(wish.priority, violations)
    if wish.deadline_seconds < 0:
        violations.add("job.deadline_seconds", "must not be negative; 0 means no limit")
    for field in ("cpus", "memory_bytes", "gpus"):
        # Also refuses a NaN.
        if not getattr(wish.resources, field) >= 0:
            violations.add(f"job.resources.{field}", "must not be negative; 0 means the recipe's default")


def _kind(kind: Kind | None, recipe: Recipe | None, violations: Violations) -> Kind | None:
    allowed = recipe.kinds if recipe else tuple(Kind)
    if kind in allowed:
        return kind
    violations.add("job.kind", f"must be one of {', '.join(each.name for each in allowed)}")
    return None


def _check_inputs(wish: Wish, violations: Violations) -> None:
    if wish.dataset_version or wish.kind in _ON_DATASETS:
        _check_owned(DATASET_VERSION, wish.dataset_version, wish, "job.dataset_version", violations)
    if wish.kind is Kind.IMPORT and wish.dataset_version:
        violations.add("job.dataset_version", "must be empty for IMPORT, which works on a file alone")
    if wish.model or wish.kind is Kind.IMPORT:
        _check_owned(MODEL, wish.model, wish, "job.model", violations)
    if wish.model_version or wish.kind in _OF_MODELS:
        _check_owned(MODEL_VERSION, wish.model_version, wish, "job.model_version", violations)
    if wish.base_artifact is None and wish.kind is not None and wish.kind is not Kind.TRAIN:
        violations.add("job.base_artifact", f"is required for {wish.kind.name}: the file to work on")
    if wish.base_artifact is not None and not (wish.base_artifact.digest and wish.base_artifact.logical_key):
        violations.add("job.base_artifact", "needs `digest` and `logical_key`")


def _check_owned(pattern: Pattern, name: str, wish: Wish, field: str, violations: Violations) -> None:
    ids = pattern.check(name, field, violations)
    if ids is not None and f"projects/{ids['project']}" != wish.project:
        violations.add(field, f"must lie in {wish.project}, as the job does")


def _base(wish: Wish, recipe: Recipe | None, violations: Violations) -> str:
    if recipe is None or wish.base_artifact is not None or wish.kind is not Kind.TRAIN:
        return wish.base
    known = (*recipe.bases, SCRATCH)
    if wish.base and wish.base not in known:
        violations.add("job.base", f"must be one of {', '.join(dict.fromkeys(known))}")
    return wish.base or known[0]


def _resources(wished: Resources, recipe: Recipe) -> Resources:
    default = recipe.default_resources
    return Resources(
        wished.cpus or default.cpus, wished.memory_bytes or default.memory_bytes, wished.gpus or default.gpus
    )


def _check_artifact(artifact: Artifact | None, project_uid: str) -> None:
    violations = Violations()
    if artifact is not None and not belongs(artifact.logical_key, project_uid):
        violations.add("job.base_artifact.logical_key", "must lie in the job's project")
    violations.raise_if_any()


def _with_dataset(spec: Spec, recipe: Recipe, dataset: DatasetFacts | None, project: str) -> Spec:
    if dataset is None:
        return spec
    if dataset.task is not recipe.task:
        message = f"{recipe.resource_name} is for {recipe.task.name}, {dataset.name} for {dataset.task.name}"
        fix = "choose a recipe of the dataset's task, or build a version for the recipe's"
        violation = PreconditionViolation("TASK_MISMATCH", dataset.name, fix)
        raise FailedPrecondition("TASK_MISMATCH", f"{message}; {fix}", [violation])
    model = spec.model or (f"{project}/models/{dataset.dataset_id}" if spec.kind is Kind.TRAIN else "")
    return replace(spec, dataset_version=dataset.name, manifest=dataset.manifest, classes=dataset.classes, model=model)
