"""Whether a wish can become a job: all that is wrong with it, found without asking anybody."""

import math
import re
from collections.abc import Sequence
from dataclasses import fields

from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, Violations
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.names import Pattern, validate_id
from bloomery_trainer import inputs
from bloomery_trainer.model import Artifact, Kind, ParameterValue, Resources, Spec
from bloomery_trainer.neighbours import DatasetFacts
from bloomery_trainer.parameters import effective_parameters
from bloomery_trainer.recipes import Recipe
from bloomery_trainer.resolving import DATASET_VERSION, Resolved
from bloomery_trainer.wishes import Changes, Wish

MODEL = Pattern("projects/{project}/models/{model}")
MODEL_VERSION = Pattern("projects/{project}/models/{model}/versions/{version}")
VARIANT = Pattern("projects/{project}/models/{model}/versions/{version}/variants/{variant}")
SCRATCH = "scratch"
_PRIORITY = 1000
_FILES = 100
_PATH = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
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
    _check_images(resolved, violations)
    _check_folder(wish, violations)
    _check_model(wish, violations)
    _check_files(resolved, violations)
    _check_variant(wish, violations)
    effective = effective_parameters(recipe, kind, wish.parameters, violations) if recipe and kind else {}
    base = _base(resolved, violations)
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
        model_variant=wish.model_variant,
        variant_artifacts=wish.variant_artifacts,
        deadline_seconds=wish.deadline_seconds,
        manifest=dataset.manifest if dataset else None,
        classes=dataset.classes if dataset else (),
        suggest=wish.suggest,
        images=resolved.images,
        archives=wish.archives or (),
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
    if wish.kind is Kind.PREDICT and (wish.images is not None or wish.archives is not None):
        if wish.dataset_version:
            violations.add(field, "must be empty with `project_images` or `folder_images`: name one of them")
        return
    if wish.suggest and resolved.dataset and resolved.dataset.crops:
        problem = f"must not be set on {resolved.dataset.name}: suggestions lie on images of the project, not on crops"
        violations.add("job.suggest", f"{problem} of them; leave it out, or name `project_images`")
    wants = wish.kind in _ON_DATASETS or (wish.kind is None and wish.base_artifact is None)
    if wish.kind is Kind.IMPORT and wish.dataset_version:
        violations.add(field, "must be empty for IMPORT, which works on a file alone")
        return
    named = wish.dataset_version
    if (named or wants) and _check_owned(DATASET_VERSION, named, wish, field, violations) and not resolved.dataset:
        violations.add(field, f"{named} does not exist")


def _check_images(resolved: Resolved, violations: Violations) -> None:
    wish = resolved.wish
    if wish.images is None:
        return
    if wish.kind is not Kind.PREDICT:
        violations.add("job.project_images", "must not be set for another kind than PREDICT")
    if resolved.filter_problem:
        violations.add("job.project_images.filter", resolved.filter_problem)


def _check_folder(wish: Wish, violations: Violations) -> None:
    """Images that are not the project's come as archives, and nothing can be suggested on them."""
    if wish.archives is None:
        return
    if wish.kind is not Kind.PREDICT:
        violations.add("job.folder_images", "must not be set for another kind than PREDICT")
    if wish.images is not None:
        violations.add("job.folder_images", "must not be set with `project_images`: name one of the two")
    if wish.suggest:
        problem = "must not be set with `folder_images`: suggestions lie on images of the project; import the folder"
        violations.add("job.suggest", f"{problem}, and name `project_images`")
    if not 0 < len(wish.archives) <= _FILES:
        violations.add("job.folder_images.archives", f"must be 1 to {_FILES}: the ZIP files of the images")


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


def _check_files(resolved: Resolved, violations: Violations) -> None:
    wish = resolved.wish
    if wish.base_artifact is None and not wish.model_variant and wish.kind and wish.kind is not Kind.TRAIN:
        violations.add("job.base_artifact", f"is required for {wish.kind.name}: the file to work on")
    for file in resolved.files:
        check_text(file.artifact.file_name, f"{file.field}.file_name", violations)
        if not (file.artifact.digest and file.artifact.logical_key):
            violations.add(file.field, "needs `digest` and `logical_key`")
        elif not file.owned:
            violations.add(f"{file.field}.logical_key", "must lie in the job's project")


def _check_variant(wish: Wish, violations: Violations) -> None:
    """A form of a model is all of its files, and takes the place of the checkpoint."""
    if not wish.model_variant:
        if wish.variant_artifacts:
            violations.add("job.variant_artifacts", "must be empty where `model_variant` is")
        return
    if wish.kind not in _OF_MODELS:
        violations.add("job.model_variant", "must be empty but for EVALUATE and PREDICT")
    if VARIANT.check(wish.model_variant, "job.model_variant", violations) and not wish.model_variant.startswith(
        f"{wish.model_version}/variants/"
    ):
        violations.add("job.model_variant", "must be one of `model_version`")
    if wish.base_artifact is not None:
        violations.add("job.base_artifact", "must not be set beside `model_variant`, which is worked on in its place")
    _check_directory(wish.variant_artifacts, violations)


def _check_directory(files: Sequence[Artifact], violations: Violations) -> None:
    if not 0 < len(files) <= _FILES:
        violations.add("job.variant_artifacts", f"must be 1 to {_FILES}: all files of the variant")
    names = [one.file_name for one in files]
    for at, name in enumerate(names):
        if not _PATH.fullmatch(name):
            violations.add(f"job.variant_artifacts[{at}].file_name", "must be a path inside the model directory")
        elif names.index(name) < at:
            violations.add(f"job.variant_artifacts[{at}].file_name", f"{name} is there twice")


def _base(resolved: Resolved, violations: Violations) -> str:
    wish, recipe = resolved.wish, resolved.recipe
    if resolved.base_problem:
        violations.add("job.base", resolved.base_problem)
        return wish.base
    if recipe is None or wish.base_artifact is not None or wish.kind is not Kind.TRAIN:
        return wish.base
    known = (*recipe.bases, SCRATCH)
    if wish.base and wish.base not in known:
        violations.add("job.base", f"must be one of {', '.join(dict.fromkeys(known))}")
    return wish.base or known[0]


def _check_state(resolved: Resolved, recipe: Recipe) -> None:
    """Raise FailedPrecondition where all is well said, and the world is not ready for it."""
    dataset = resolved.dataset
    for file in resolved.files:
        if file.gone:
            raise inputs.missing_error(file.artifact.digest, file.gone)
    if dataset is None:
        return
    if dataset.unready:
        raise _refused("DATASET_NOT_READY", dataset.name, f"{dataset.name} is not READY", dataset.unready)
    if dataset.task is not recipe.task:
        used = resolved.wish.model_version or recipe.resource_name
        what = f"{used} is for {recipe.task.name.lower()}, {dataset.name} for {dataset.task.name.lower()}"
        other = "model" if resolved.wish.model_version else "recipe"
        fix = f"choose a {other} of the dataset's task, or a version that is built for the {other}'s"
        raise _refused("TASK_MISMATCH", dataset.name, what, fix)


def _refused(code: str, subject: str, what: str, fix: str) -> FailedPrecondition:
    return FailedPrecondition(code, f"{what}; {fix}", [PreconditionViolation(code, subject, fix)])


def _resources(wished: Resources, default: Resources) -> Resources:
    return Resources(
        wished.cpus or default.cpus, wished.memory_bytes or default.memory_bytes, wished.gpus or default.gpus
    )


def _model_of(wish: Wish, dataset: DatasetFacts | None) -> str:
    return f"{wish.project}/models/{dataset.dataset_id}" if dataset and wish.kind is Kind.TRAIN else ""
