"""Between protobuf and deployments."""

from bloomery.inference.v1 import (
    CreateDeploymentRequest,
    DeployedModel,
    DeploymentDisagreement,
    DeploymentReplica,
    DisagreementRate,
    UpdateDeploymentRequest,
)
from bloomery.inference.v1 import Deployment as DeploymentMessage
from bloomery_inference.convert import variant_name
from bloomery_inference.names import DEPLOYMENT, MODEL, PROJECT, VERSION, parse_selector
from bloomery_inference.serving.convert import replica_model_message, runtime_of
from bloomery_inference.serving.deployments import View, etag_in
from bloomery_inference.serving.differing import wilson
from bloomery_inference.serving.holding import name_of
from bloomery_inference.serving.model import FORMATS, Deployment, Disagreement, LoadState, Replica, Sought
from bloomery_inference.serving.rollout import failure_of
from bloomery_inference.serving.wishes import DeploymentChange, NewDeployment
from bloomery_kit.errors import FieldViolation, InvalidArgument, Violations
from bloomery_kit.fields import check_labels, check_text
from bloomery_kit.masks import apply_mask
from bloomery_kit.names import validate_id
from bloomery_kit.times import to_timestamp

UPDATABLE = frozenset({"model_version", "variant", "traffic_percent", "shadow", "labels"})
_ALL = 100


def new_deployment(request: CreateDeploymentRequest) -> NewDeployment:
    """What is to be created. Raise InvalidArgument with every violation."""
    message, violations = request.deployment, Violations()
    project = PROJECT.check(request.parent, "parent", violations)
    validate_id(request.deployment_id, "deployment_id", violations)
    runtime = runtime_of(message.runtime or next(iter(FORMATS)), "deployment.runtime", violations)
    check_labels(message.labels, "deployment.labels", violations)
    check_text(message.variant, "deployment.variant", violations)
    if message.shadow or (message.HasField("traffic_percent") and message.traffic_percent != _ALL):
        violations.add("deployment.traffic_percent", "must be 100: the first version takes all traffic")
    violations.raise_if_any()
    selector = parse_selector(message.model_version, "deployment.model_version")
    assert project is not None
    if selector.project != project["project"]:
        text = f"must be a version of a model of {request.parent}"
        raise InvalidArgument([FieldViolation("deployment.model_version", text)])
    return NewDeployment(
        project=project["project"],
        id=request.deployment_id,
        runtime=runtime,
        target=message.model_version,
        variant=message.variant,
        labels=dict(message.labels),
    )


def deployment_change(request: UpdateDeploymentRequest) -> DeploymentChange:
    """What is to change. Raise InvalidArgument with every violation."""
    message, violations = request.deployment, Violations()
    paths = apply_mask(request.update_mask, message, UPDATABLE)
    if "labels" in paths:
        check_labels(message.labels, "deployment.labels", violations)
    if "variant" in paths:
        check_text(message.variant, "deployment.variant", violations)
    traffic = message.traffic_percent if message.HasField("traffic_percent") else _ALL
    if "traffic_percent" in paths and not 0 <= traffic <= _ALL:
        violations.add("deployment.traffic_percent", f"must be 0 to {_ALL}, not {traffic}")
    shadow = message.shadow and "shadow" in paths
    if shadow and "traffic_percent" in paths and traffic:
        violations.add("deployment.shadow", "a shadow never answers: give it no traffic_percent, or 0")
    violations.raise_if_any()
    if "model_version" in paths:
        parse_selector(message.model_version, "deployment.model_version")
    return DeploymentChange(
        name=message.name,
        etag=message.etag,
        target=message.model_version if "model_version" in paths else None,
        variant=message.variant if "variant" in paths else None,
        traffic=traffic if "traffic_percent" in paths else None,
        shadow=message.shadow if "shadow" in paths else None,
        labels=dict(message.labels) if "labels" in paths else None,
    )


def sought(text: str) -> Sought:
    """Which deployments are listed. Raise InvalidArgument."""
    kind, _, value = text.partition(":")
    if not text or (kind == "id" and DEPLOYMENT.matches(f"projects/any/deployments/{value}")):
        return Sought(id=value)
    if kind != "model" or not MODEL.matches(value):
        raise InvalidArgument([FieldViolation("filter", f"must be empty, id:ID or model:{MODEL.template}")])
    ids = MODEL.parse(value)
    return Sought(model=(ids["project"], ids["model"]))


def deployment_message(view: View) -> DeploymentMessage:
    """A deployment as the contract shows it."""
    deployment = view.deployment
    return DeploymentMessage(
        name=name_of(deployment),
        uid=deployment.uid,
        labels=deployment.labels,
        runtime=deployment.runtime,
        model_version=deployment.target,
        variant=deployment.variant,
        alias=deployment.alias,
        traffic_percent=deployment.traffic,
        shadow=deployment.shadow,
        serving=_model(view, deployment.serving),
        candidate=_model(view, deployment.candidate),
        previous=_model(view, deployment.previous),
        generation=deployment.generation,
        observed_generation=deployment.observed,
        state=state_of(deployment),
        reason=_reason(view),
        replicas=[_replica(deployment, replica) for replica in view.replicas],
        plan_generation=view.plan,
        create_time=to_timestamp(deployment.create_time),
        update_time=to_timestamp(deployment.update_time),
        updater=deployment.updater,
        etag=etag_in(deployment),
        sequence=deployment.sequence,
    )


def state_of(deployment: Deployment) -> DeploymentMessage.State.ValueType:
    """How far a deployment is."""
    if deployment.paused:
        return DeploymentMessage.STATE_PAUSED
    if deployment.failure:
        return DeploymentMessage.STATE_FAILED
    if deployment.observed == deployment.generation:
        return DeploymentMessage.STATE_READY
    return DeploymentMessage.STATE_PROGRESSING if deployment.serving else DeploymentMessage.STATE_PENDING


def disagreement_message(view: View, item: Disagreement) -> DeploymentDisagreement:
    """What two versions disagreed about as the contract shows it."""
    deployment = view.deployment
    return DeploymentDisagreement(
        name=f"{name_of(deployment)}/disagreements/{item.ordinal}",
        asset=item.asset,
        digest=item.digest,
        model_version=_version(deployment, item.answered),
        other_model_version=_version(deployment, item.other),
        difference=item.difference,
        create_time=to_timestamp(item.create_time),
    )


def rate_message(view: View) -> DisagreementRate | None:
    """How often two versions disagreed as the contract shows it; None where nothing was to be compared."""
    seen, deployment = view.deployment.comparison, view.deployment
    if not seen.candidate:
        return None
    rate, lower, upper = wilson(seen.disagreed, seen.compared)
    numbers = [view.variants[uid].number if uid in view.variants else 0 for uid in (seen.serving, seen.candidate)]
    return DisagreementRate(
        model_version=_version(deployment, numbers[0]),
        other_model_version=_version(deployment, numbers[1]),
        compared_count=seen.compared,
        disagreed_count=seen.disagreed,
        rate=rate,
        lower=lower,
        upper=upper,
        skipped_count=seen.skipped,
    )


def _reason(view: View) -> str:
    deployment = view.deployment
    state = state_of(deployment)
    if state == DeploymentMessage.STATE_PAUSED:
        return "answers nothing until it is resumed"
    if state == DeploymentMessage.STATE_FAILED:
        return deployment.failure
    if state == DeploymentMessage.STATE_READY:
        return _share(view) or _trouble(view)
    return _waits(view)


def _share(view: View) -> str:
    deployment = view.deployment
    if not deployment.candidate:
        return ""
    name = view.variants[deployment.candidate].title
    return f"{name} is a shadow" if deployment.shadow else f"{name} answers {deployment.traffic} %"


def _trouble(view: View) -> str:
    uid = view.deployment.serving
    failed = [one for one in view.replicas if one.live and one.has(uid, LoadState.FAILED)]
    return failure_of(failed, uid) if failed else ""


def _waits(view: View) -> str:
    deployment = view.deployment
    live = [replica for replica in view.replicas if replica.live]
    if not live:
        return f"no replica of {deployment.runtime} is live"
    uid = deployment.wanted
    left = [_of_replica(replica, uid) for replica in live if not replica.has(uid, LoadState.READY)]
    return f"{view.variants[uid].title} is being loaded by {', '.join(left)}" if left else ""


def _of_replica(replica: Replica, uid: str) -> str:
    model = replica.model(uid)
    return f"{replica.id} ({model.reason})" if model and model.reason else replica.id


def _model(view: View, uid: str) -> DeployedModel | None:
    variant = view.variants.get(uid)
    if variant is None:
        return None
    version = VERSION.format(project=variant.project, model=variant.model, version=variant.number)
    return DeployedModel(model_version=version, model_variant=variant_name(variant), uid=uid)


def _version(deployment: Deployment, number: int) -> str:
    """The name of a version, "" for one that was deleted."""
    return VERSION.format(project=deployment.project, model=deployment.model, version=number) if number else ""


def _replica(deployment: Deployment, replica: Replica) -> DeploymentReplica:
    serving, candidate = replica.model(deployment.serving), replica.model(deployment.candidate)
    return DeploymentReplica(
        id=replica.id,
        endpoint=replica.endpoint,
        live=replica.live,
        observed_plan=replica.observed,
        serving=replica_model_message(serving) if serving else None,
        candidate=replica_model_message(candidate) if candidate else None,
    )
