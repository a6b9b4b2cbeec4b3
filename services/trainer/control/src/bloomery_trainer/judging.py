"""Whether a wish can become a job: all that is wrong with it, found without asking anybody."""

import math
from dataclasses import fields

from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, Violations
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.names import Pattern, validate_id
from bloomery_trainer import inputs
from bloomery_trainer.model import Kind, ParameterValue, Resources, Spec
from bloomery_trainer.neighbours import DatasetFacts
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.resolving import DATASET_VERSION, Resolved
from bloomery_trainer.wishes import Changes, Wish

MODEL = Pattern("projects/{project}/models/{model}")
MODEL_VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
SCRATCH = "scratch"
_PRIORITY = 1000
_ON_DATASETS = frozenset({Kind.TRAIN, Kind.EVALUATE, Kind.PREDICT})
_OF_MODELS = frozenset({Kind.EVALUATE, Kind.PREDICT})


def judge(resolved: Resolved) -> Spec:
    """What the job is to do.

    Raise InvalidArgument with all that is wrong, FailedPrecondition DATASET_NOT_READY, TASK_MISMATCH or INPUT_MISSING.
    """
    wish, recipe, violations = resolved.wish, resolved.recipe, Violations()
    _check_texts(wish, violations)
    _check_numbers(wish, violations)
    _check_recipe(resolved, violations)
    kind = _kind(wish.kind, recipe, violations)
    _check_dataset(resolved, violations)
    _check_model(wish, violations)
    _check_base(resolved, violations)
    effective = effective_parameters(recipe, kind, wish.parameters, violations) if recipe and kind else {}
    base = _base(wish, recipe, violations)
    violations.raise_if_any()
    assert recipe is not None
    assert kind is not None
    _check_state(resolved, recipe)
    dataset = resolved.dataset
    return Spec(
        kind=kind,
        recipe=recipe.resource_name,
        task=recipe.task,
        parameters={name: value for name, value in wish.parameters.items() if isinstance(value, ParameterValue)},
        effective_parameters=effective,
        resources=_resources(wish.resources, recipe.default_resources),
        dataset_version=dataset.name if dataset else "",
        base=base,
        base_artifact=wish.base_artifact,
        model=wish.model or _model_of(wish, dataset),
        model_version=wish.model_version,
        deadline_seconds=wish.deadline_seconds,
        manifest=dataset.manifest if dataset else None,
        classes=dataset.classes if dataset else (),
        suggest=wish.suggest,
    )


def judge_changes(changes: Changes) -> None:
    """Raise InvalidArgument with all that is wrong."""
    violations = Violations()
    check_text(changes.display_name or "", "job.display_name", violations)
    check_labels(changes.labels or {}, "job.labels", violations)
    _check_priority(changes.priority or 0, violations)
    violations.raise_if_any()


def _check_texts(wish: Wish, violations: Violations) -> None:
    if wish.job_id:
        validate_id(wish.job_id, "job_id", violations)
    if wish.group:
        validate_id(wish.group, "job.group", violations)
    check_text(wish.display_name, "job.display_name", violations)
    check_text(wish.base, "job.base", violations)
    if wish.base_artifact is not None:
        check_text(wish.base_artifact.file_name, "job.base_artifact.file_name", violations)
    check_labels(wish.labels, "job.labels", violations)


def _check_numbers(wish: Wish, violations: Violations) -> None:
    _check_priority(wish.priority, violations)
    if wish.deadline_seconds < 0:
        violations.add("job.deadline_seconds", "must not be negative; 0 means no limit")
    for field in fields(Resources):
        value = getattr(wish.resources, field.name)
        if not math.isfinite(value) or value < 0:
            violations.add(f"job.resources.{field.name}", "must be a number from 0; 0 means the recipe's default")


def _check_priority(priority: int, violations: Violations) -> None:
    if abs(priority) > _PRIORITY:
        violations.add("job.priority", f"must be between -{_PRIORITY} and {_PRIORITY}")


def _check_recipe(resolved: Resolved, violations: Violations) -> None:
    if resolved.recipe is None:
        given = resolved.wish.recipe
        problem = f"{given[:100]} does not exist" if given else "is required"
        violations.add("job.recipe", f"{problem}; {resolved.known_recipes}")


def _kind(kind: Kind | None, recipe: Recipe | None, violations: Violations) -> Kind | None:
    allowed = recipe.kinds if recipe else tuple(Kind)
    if kind in allowed:
        return kind
    violations.add("job.kind", f"must be one of {', '.join(each.name for each in allowed)}")
    return None


def _check_dataset(resolved: Resolved, violations: Violations) -> None:
    wish, field = resolved.wish, "job.dataset_version"
    # A job that names nothing to work on is a training of which the most important is missing.
    wants = wish.kind in _ON_DATASETS or (wish.kind is None and wish.base_artifact is None)
    if wish.kind is Kind.IMPORT and wish.dataset_version:
        violations.add(field, "must be empty for IMPORT, which works on a file alone")
        return
    named = wish.dataset_version
    if (named or wants) and _check_owned(DATASET_VERSION, named, wish, field, violations) and not resolved.dataset:
        violations.add(field, f"{named} does not exist")


def _check_model(wish: Wish, violations: Violations) -> None:
    if wish.model or wish.kind is Kind.IMPORT:
        _check_owned(MODEL, wish.model, wish, "job.model", violations)
    if wish.model_version or wish.kind in _OF_MODELS:
        _check_owned(MODEL_VERSION, wish.model_version, wish, "job.model_version", violations)
    if wish.suggest and wish.kind is not Kind.PREDICT:
        violations.add("job.suggest", "must not be set for another kind than PREDICT")


def _check_owned(pattern: Pattern, name: str, wish: Wish, field: str, violations: Violations) -> bool:
    ids = pattern.check(name, field, violations)
    if ids is not None and f"projects/{ids['project']}" != wish.project:
        violations.add(field, f"must lie in {wish.project}, as the job does")
        return False
    return ids is not None


def _check_base(resolved: Resolved, violations: Violations) -> None:
    wish, base = resolved.wish, resolved.wish.base_artifact
    if base is None:
        if wish.kind is not None and wish.kind is not Kind.TRAIN:
            violations.add("job.base_artifact", f"is required for {wish.kind.name}: the file to work on")
    elif not (base.digest and base.logical_key):
        violations.add("job.base_artifact", "needs `digest` and `logical_key`")
    elif not resolved.base_owned:
        violations.add("job.base_artifact.logical_key", "must lie in the job's project")


def _base(wish: Wish, recipe: Recipe | None, violations: Violations) -> str:
    if recipe is None or wish.base_artifact is not None or wish.kind is not Kind.TRAIN:
        return wish.base
    known = (*recipe.bases, SCRATCH)
    if wish.base and wish.base not in known:
        violations.add("job.base", f"must be one of {', '.join(dict.fromkeys(known))}")
    return wish.base or known[0]


def _check_state(resolved: Resolved, recipe: Recipe) -> None:
    """Raise FailedPrecondition where all is well said, and the world is not ready for it."""
    dataset, base = resolved.dataset, resolved.wish.base_artifact
    if base is not None and resolved.base_gone:
        raise inputs.missing_error(base.digest, resolved.base_gone)
    if dataset is None:
        return
    if dataset.unready:
        raise _refused("DATASET_NOT_READY", dataset.name, f"{dataset.name} is not READY", dataset.unready)
    if dataset.task is not recipe.task:
        what = f"{recipe.resource_name} is for {recipe.task.name}, {dataset.name} for {dataset.task.name}"
        fix = "choose a recipe of the dataset's task, or build a version for the recipe's"
        raise _refused("TASK_MISMATCH", dataset.name, what, fix)


def _refused(code: str, subject: str, what: str, fix: str) -> FailedPrecondition:
    return FailedPrecondition(code, f"{what}; {fix}", [PreconditionViolation(code, subject, fix)])


def _resources(wished: Resources, default: Resources) -> Resources:
    return Resources(
        wished.cpus or default.cpus, wished.memory_bytes or default.memory_bytes, wished.gpus or default.gpus
    )


def _model_of(wish: Wish, dataset: DatasetFacts | None) -> str:
    return f"{wish.project}/models/{dataset.dataset_id}" if dataset and wish.kind is Kind.TRAIN else ""
