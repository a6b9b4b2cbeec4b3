"""Between protobuf and what replicas are told and say."""

import math
import re

from bloomery.inference.v1 import InputSpec, PlannedFile, ReplicaModel
from bloomery.inference.v1 import PlannedModel as PlannedModelMessage
from bloomery.inference.v1 import Replica as ReplicaMessage
from bloomery.vision.v1 import TaskType
from bloomery_inference.convert import TASKS, variant_name
from bloomery_inference.serving.model import FORMATS, LoadedModel, LoadState, PlannedModel, Replica
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text

LOAD_STATES = {
    LoadState.LOADING: ReplicaModel.STATE_LOADING,
    LoadState.READY: ReplicaModel.STATE_READY,
    LoadState.FAILED: ReplicaModel.STATE_FAILED,
    LoadState.UNLOADING: ReplicaModel.STATE_UNLOADING,
}
_STATES = {number: state for state, number in LOAD_STATES.items()}
_UID = re.compile(r"[0-9a-f]{32}")
_ID_LENGTH = 253
_INCARNATION_LENGTH = 128
_REASON_LENGTH = 4096
_MOST_MODELS = 1000


def planned_message(model: PlannedModel, files: list[PlannedFile]) -> PlannedModelMessage:
    """A model of a plan as the contract shows it, with its signed `files`."""
    content = model.version.content
    return PlannedModelMessage(
        uid=model.variant.uid,
        model_variant=variant_name(model.variant),
        format=model.variant.format,
        files=files,
        task=TASKS.get(content.task, TaskType.TASK_TYPE_UNSPECIFIED),
        classes=content.classes,
        input=InputSpec(height=content.input.height, width=content.input.width, resize=content.input.resize),
        decoder=content.decoder,
    )


def runtime_of(text: str, field: str, violations: Violations) -> str:
    """The name of a runtime; record a violation for one that there is not."""
    if text not in FORMATS:
        violations.add(field, f"must be one of {', '.join(FORMATS)}, not {text[:50]!r}")
    return text


def replica_of(message: ReplicaMessage) -> Replica:
    """What a replica says. Raise InvalidArgument with every violation."""
    violations = Violations()
    runtime_of(message.runtime, "replica.runtime", violations)
    for field, length in (("id", _ID_LENGTH), ("incarnation", _INCARNATION_LENGTH)):
        value = getattr(message, field)
        check_text(value, f"replica.{field}", violations, length=length)
        if not value:
            violations.add(f"replica.{field}", "is required")
    check_text(message.endpoint, "replica.endpoint", violations)
    for field in ("observed_generation", "sequence"):
        if getattr(message, field) < 0:
            violations.add(f"replica.{field}", "must not be negative")
    if len(message.models) > _MOST_MODELS:
        violations.add("replica.models", f"must be at most {_MOST_MODELS}, not {len(message.models)}")
    models = [_model(model, f"replica.models[{i}]", violations) for i, model in enumerate(message.models)]
    if len({model.uid for model in models}) < len(models):
        violations.add("replica.models", "must name each uid once")
    violations.raise_if_any()
    return Replica(
        id=message.id,
        incarnation=message.incarnation,
        runtime=message.runtime,
        endpoint=message.endpoint,
        observed=message.observed_generation,
        models=tuple(models),
        sequence=message.sequence,
    )


def replica_model_message(model: LoadedModel) -> ReplicaModel:
    """A model on a replica as the contract shows it."""
    return ReplicaModel(uid=model.uid, state=LOAD_STATES[model.state], reason=model.reason, load_ms=model.load_ms)


def _model(message: ReplicaModel, field: str, violations: Violations) -> LoadedModel:
    if not _UID.fullmatch(message.uid):
        violations.add(f"{field}.uid", "must be 32 hexadecimal digits")
    if message.state not in _STATES:
        violations.add(f"{field}.state", f"must be one of {', '.join(LOAD_STATES)}")
    if not (math.isfinite(message.load_ms) and message.load_ms >= 0):
        violations.add(f"{field}.load_ms", "must be a number of milliseconds from 0 on")
    # The runtime's own words may hold anything.
    reason = message.reason.replace("\0", "")[:_REASON_LENGTH]
    return LoadedModel(message.uid, _STATES.get(message.state, LoadState.FAILED), reason, message.load_ms)
