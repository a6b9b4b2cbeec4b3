"""Between the contract and what a replica knows."""

from bloomery.inference.v1 import PlannedFile as PlannedFileMessage
from bloomery.inference.v1 import PlannedModel as PlannedModelMessage
from bloomery.inference.v1 import Replica as ReplicaMessage
from bloomery.inference.v1 import ServingPlan
from bloomery_inference.agent.model import Plan, PlannedFile, PlannedModel, Report
from bloomery_inference.convert import TASKS
from bloomery_inference.model import InputSpec
from bloomery_inference.serving.convert import replica_model_message
from bloomery_vision.interpret import default_decoder

_NAMES = {number: task for task, number in TASKS.items()}


def plan_of(message: ServingPlan) -> Plan:
    """A plan as the contract tells it."""
    return Plan(message.generation, tuple(_model_of(model) for model in message.models))


def replica_message(report: Report, *, id: str, runtime: str, endpoint: str) -> ReplicaMessage:
    """What a replica says of itself."""
    return ReplicaMessage(
        id=id,
        incarnation=report.incarnation,
        runtime=runtime,
        endpoint=endpoint,
        observed_generation=report.observed_generation,
        models=map(replica_model_message, report.models),
        sequence=report.sequence,
    )


def _model_of(message: PlannedModelMessage) -> PlannedModel:
    spec = message.input
    return PlannedModel(
        uid=message.uid,
        title=message.model_variant,
        files=tuple(_file_of(file) for file in message.files),
        classes=tuple(message.classes),
        input=InputSpec(spec.height, spec.width, spec.resize),
        decoder=message.decoder or default_decoder(_NAMES.get(message.task, "")),
    )


def _file_of(message: PlannedFileMessage) -> PlannedFile:
    get = message.get
    return PlannedFile(message.file_name, message.digest, message.size_bytes, get.url, dict(get.headers))
