"""What is asked for of variants: a form, and what its job is given beside that."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.inference.v1 import ModelForm, OptimizeModelVersionRequest
from bloomery.training.v1 import CreateJobRequest, Job, JobKind
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
    """What a request asks for. Raise InvalidArgument, FailedPrecondition FORM_UNAVAILABLE."""
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
    if form.needs:
        violation = PreconditionViolation("FORM_UNAVAILABLE", form.id, form.needs)
        raise FailedPrecondition("FORM_UNAVAILABLE", f"{form.id} cannot be made: {form.needs}", [violation])
    return Wish(form, json_format.MessageToDict(request.parameters), request.dataset_version)


def optimize_job(version: ModelVersion, variant: Variant) -> CreateJobRequest:
    """The request for the job that makes a variant."""
    content, parameters = version.content, Struct()
    parameters.update({**variant.parameters, "format": variant.format, "precision": variant.precision})
    job = Job(
        display_name=f"{version.model}@{version.number} to {variant.id}",
        kind=JobKind.JOB_KIND_OPTIMIZE,
        recipe=content.lineage.recipe.split(" ")[0],
        parameters=parameters,
        dataset_version=variant.dataset_version or content.lineage.dataset_version,
        base_artifact=artifact_message(source_of(version)),
        model_version=version_name(version),
    )
    return CreateJobRequest(
        parent=PROJECT.format(project=version.project),
        job_id=variant.job.rpartition("/")[2],
        job=job,
        request_id=variant.uid,
    )
