"""What is asked for of variants: a form, and what its job is given beside that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.inference.v1 import ModelForm, OptimizeModelVersionRequest
from bloomery.training.v1 import CreateJobRequest, Job, JobKind, Resources
from bloomery_inference.convert import artifact_message, source_of, version_name
from bloomery_inference.model import Json, ModelVersion, Variant
from bloomery_inference.names import PROJECT
from bloomery_kit.errors import FailedPrecondition, PreconditionViolation, Violations
from bloomery_vision import forms
from bloomery_vision.forms import Form


@dataclass(frozen=True)
class Wish:
    """What was asked for: a form, parameters of the job that makes it, and a dataset version, "" for the version's."""

    form: Form
    parameters: Mapping[str, Json] = field(default_factory=dict)
    dataset_version: str = ""


def form_message(form: Form) -> ModelForm:
    """A form as the contract shows it."""
    return ModelForm(
        id=form.id,
        format=form.format,
        precision=form.precision,
        runtime=form.runtime,
        limits=str(form.limits),
        needs=form.needs,
    )


def wish_of(request: OptimizeModelVersionRequest) -> Wish:
    """What a request asks for. Raise InvalidArgument."""
    wanted = request.format or forms.formats()[0]
    precisions, violations = forms.precisions(wanted), Violations()
    if not precisions:
        violations.add("format", f"must be one of {', '.join(forms.formats())}, not {wanted!r}")
    elif request.precision and request.precision not in precisions:
        violations.add("precision", f"must be one of {', '.join(precisions)} for {wanted}")
    for name in ("format", "precision"):
        if name in request.parameters:
            violations.add(f"parameters.{name}", "is a field of its own")
    violations.raise_if_any()
    form = forms.FORMS[f"{wanted}-{request.precision or precisions[0]}"]
    return Wish(form, json_format.MessageToDict(request.parameters), request.dataset_version)


def optimize_job(version: ModelVersion, variant: Variant) -> CreateJobRequest:
    """The request for the job that makes a variant."""
    wish = Wish(forms.FORMS[variant.id], variant.parameters, variant.dataset_version)
    return CreateJobRequest(
        parent=PROJECT.format(project=version.project),
        job_id=variant.job.rpartition("/")[2],
        job=_job(version, wish),
        request_id=variant.uid,
    )


def trial_job(version: ModelVersion, wish: Wish) -> CreateJobRequest:
    """A request that only asks what would become of the job of a variant."""
    parent = PROJECT.format(project=version.project)
    return CreateJobRequest(parent=parent, job=_job(version, wish), validate_only=True)


def check_schedulable(form: Form, job: Job) -> None:
    """Raise FailedPrecondition FORM_UNAVAILABLE where there is nothing that a job to make a form could run on."""
    if job.reason.code == "UNSCHEDULABLE_GPU":
        why = f"it needs {form.needs}; {job.reason.message}"
        violation = PreconditionViolation("FORM_UNAVAILABLE", form.id, why)
        raise FailedPrecondition("FORM_UNAVAILABLE", f"{form.id} cannot be made: {why}", [violation])


def _job(version: ModelVersion, wish: Wish) -> Job:
    content, form, parameters = version.content, wish.form, Struct()
    parameters.update({**wish.parameters, "format": form.format, "precision": form.precision})
    return Job(
        display_name=f"{version.title} to {form.id}",
        kind=JobKind.JOB_KIND_OPTIMIZE,
        recipe=content.lineage.recipe.split(" ")[0],
        parameters=parameters,
        dataset_version=wish.dataset_version or content.lineage.dataset_version,
        base_artifact=artifact_message(source_of(version)),
        model_version=version_name(version),
        resources=Resources(gpus=1) if form.device == forms.GPU else None,
    )
