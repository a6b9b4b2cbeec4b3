"""Doing a job again, and what two jobs do not have in common."""

from collections.abc import Iterable, Mapping

from google.protobuf.json_format import MessageToDict

from bloomery import errors
from bloomery._names import id_of
from bloomery._results import Difference
from bloomery.training import v1 as training

_SCRATCH = "scratch"
_FACTS = {
    "recipe": ("recipe", "version"),
    "dataset": ("dataset", "content_hash"),
    "base weights": ("base", "digest"),
    "device": ("device",),
}
"""What a result tells about its making, by its path in the details."""


def repetition(job: training.Job, recipe: training.Recipe) -> training.Job:
    """A training with the same inputs as `job`, every parameter spelled out, labelled `reproduces`.

    Raises:
        InvalidArgument: the job is of another kind.
    """
    if job.kind != training.JOB_KIND_TRAIN:
        kind = training.JobKind.Name(job.kind).removeprefix("JOB_KIND_")
        raise errors.InvalidArgument(f"{id_of(job.name)} is of the kind {kind}; only TRAIN can be reproduced")
    return training.Job(
        kind=job.kind,
        recipe=job.recipe,
        parameters=job.effective_parameters,
        dataset_version=job.dataset_version,
        base=_base(job, recipe),
        base_artifact=job.base_artifact if job.HasField("base_artifact") else None,
        model=job.model,
        resources=job.resources,
        deadline_seconds=job.deadline_seconds,
        priority=job.priority,
        labels={**job.labels, "reproduces": id_of(job.name)},
    )


def _base(job: training.Job, recipe: training.Recipe) -> str:
    # Weights that could not be had then may be there now. The default's architecture is that of a start from scratch.
    fell_back = record(job).get("base weights") == "" and not job.HasField("base_artifact")
    return _SCRATCH if fell_back and job.base in recipe.bases[:1] else job.base


def differences(before: training.Job, after: training.Job) -> list[Difference]:
    """What two jobs do not have in common: inputs, parameters, versions of code and libraries, measurements.

    What only finished jobs have is compared where both are finished.
    """
    given, other = MessageToDict(before.effective_parameters), MessageToDict(after.effective_parameters)
    found = mapping_differences("parameter ", given, other)
    if before.HasField("result") and after.HasField("result"):
        found += mapping_differences("", record(before), record(after))
        found += mapping_differences("", before.result.versions, after.result.versions)
        found += mapping_differences("", before.result.metrics, after.result.metrics)
    return found


def record(job: training.Job) -> Mapping[str, str]:
    """The facts about its making that its result holds, as text: recipe version, dataset digest and the like."""
    details = MessageToDict(job.result.details)
    found = {what: _at(details, path) for what, path in _FACTS.items()}
    return {what: str(value) for what, value in found.items() if value is not None}


def _at(details: object, path: Iterable[str]) -> object:
    for key in path:
        details = details.get(key) if isinstance(details, Mapping) else None
    return details


def mapping_differences(prefix: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[Difference]:
    """What two mappings do not have in common, by name behind `prefix`."""
    names = sorted({*before, *after})
    pairs = [(name, _text(before, name), _text(after, name)) for name in names]
    return [Difference(prefix + name, one, other) for name, one, other in pairs if one != other]


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name, "")
    return f"{value:.10g}" if isinstance(value, float) else str(value)
