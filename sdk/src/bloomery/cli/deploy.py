"""bloomery deploy: create, update, rollback, pause, resume, delete, list, show, watch, disagreements."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import short
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, YesOption, connect
from bloomery.cli._output import grid, listing, messages, show, taken
from bloomery.cli._pairs import pairs

if TYPE_CHECKING:
    from bloomery import Deployment
    from bloomery.inference.v1 import DeploymentReplica, DisagreementRate, ReplicaModel

app = typer.Typer(help="Deployments: lasting names for the model version that answers.", no_args_is_help=True)


class Runtime(StrEnum):
    """What runs the models of a deployment."""

    onnxruntime = "onnxruntime"
    triton = "triton"


DeploymentArgument = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Id or full name.")]
VariantOption = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Variant, such as onnx-int8; the fastest that the runtime can load by default."),
]
LabelOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait until it is reached.")]


@app.command(epilog="Example: bloomery deploy create door --model cells-v@champion --runtime triton")
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens, such as door.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="MODEL[@VERSION]",
            help="Version or alias; an alias is moved by the deployment from then on.",
        ),
    ],
    runtime: Annotated[
        Runtime, typer.Option(help="The inference service itself, or Triton servers.")
    ] = Runtime.onnxruntime,
    variant: VariantOption = None,
    label: LabelOption = None,
    detach: DetachOption = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Create a deployment, and wait until it answers."""
    with connect(project) as client:
        made = client.deploy(
            name, model, runtime=runtime.value, variant=variant or "", labels=pairs(label or [], "--label")
        )
        _reach(made, output, detach=detach)


@app.command(epilog="Example: bloomery deploy update door --model cells-v@2 --traffic 10")
def update(
    deployment: DeploymentArgument,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL[@VERSION]", help="The version that is to answer.")
    ] = None,
    traffic: Annotated[
        int | None, typer.Option(min=0, max=100, help="Percent of the requests that it answers beside the old one.")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="It answers nothing, and is asked as well to compare both.")
    ] = False,
    variant: VariantOption = None,
    label: LabelOption = None,
    detach: DetachOption = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Let another version answer once it is loaded, or change its share, and wait until that is reached."""
    if model is None and traffic is None and not shadow and variant is None and not label:
        what = "give what to change: --model, --traffic, --shadow, --variant or --label"
        raise typer.BadParameter(what, param_hint="--model")
    with connect(project) as client:
        found = client.deployment(deployment)
        labels = pairs(label, "--label") if label else None
        found.update(model, traffic=traffic, shadow=shadow or None, variant=variant, labels=labels)
        _reach(found, output, detach=detach)


@app.command(epilog="Example: bloomery deploy rollback door")
def rollback(
    deployment: DeploymentArgument,
    detach: DetachOption = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Give up the version that is being brought in, or else bring back the one that served before."""
    with connect(project) as client:
        _reach(client.deployment(deployment).rollback(), output, detach=detach)


@app.command(epilog="Example: bloomery deploy pause door")
def pause(deployment: DeploymentArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Let a deployment answer nothing and take no memory."""
    with connect(project) as client:
        _show(client.deployment(deployment).pause(), output)


@app.command(epilog="Example: bloomery deploy resume door")
def resume(
    deployment: DeploymentArgument,
    detach: DetachOption = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Let a paused deployment answer again."""
    with connect(project) as client:
        _reach(client.deployment(deployment).resume(), output, detach=detach)


@app.command(epilog="Example: bloomery deploy delete door --yes")
def delete(deployment: DeploymentArgument, project: ProjectOption = None, yes: YesOption = False) -> None:
    """Delete a deployment; its alias stays where it is."""
    with connect(project) as client:
        found = client.deployment(deployment)
        if not yes:
            what = f", which serves {short(found.serving)}" if found.serving else ""
            typer.confirm(f"Delete deployment {found.id}{what}?", abort=True)
        found.delete()


@app.command("list", epilog="Example: bloomery deploy list --project cells")
def list_(
    model: Annotated[str, typer.Option("--model", help="Only those of this model.")] = "",
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List deployments."""
    columns = {
        "DEPLOYMENT": lambda one: one.id,
        "STATE": lambda one: one.state,
        "SERVES": lambda one: short(one.serving),
        "CANDIDATE": lambda one: short(one.candidate),
        "TRAFFIC": _share,
        "RUNTIME": lambda one: one.proto.runtime,
        "REASON": lambda one: one.reason,
    }
    with connect(project) as client:
        listing(client.deployments(model=model), columns, output, limit)


@app.command("show", epilog="Example: bloomery deploy show door")
def show_(deployment: DeploymentArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show a deployment and what each replica has loaded of it."""
    with connect(project) as client:
        _show(client.deployment(deployment), output)


@app.command(epilog="Example: bloomery deploy watch door")
def watch(deployment: DeploymentArgument, project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Tell each change of a deployment until it is READY, FAILED or PAUSED; exits with 1 where it has FAILED."""
    with connect(project) as client:
        found = client.deployment(deployment)
        _follow(found)
        _show(found, output)
        found.check()


@app.command(epilog="Example: bloomery deploy disagreements door")
def disagreements(
    deployment: DeploymentArgument,
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List images on which two versions of a deployment did not agree, and say how often that was."""
    with connect(project) as client:
        found = client.deployment(deployment)
        rate = found.disagreement_rate()
        items = taken(found.disagreements(), limit)
    rows = [(one.create_time.ToDatetime(), short(one.asset) or one.digest[:19], one.difference) for one in items]
    typer.echo(_told(rate), err=True)
    messages(items, ("WHEN", "IMAGE", "DIFFERENCE"), rows, output)


def _told(rate: "DisagreementRate | None") -> str:
    """How often two versions disagreed, for people."""
    if rate is None:
        return "nothing was compared: no candidate was ever named beside a version that serves"
    pair = f"{short(rate.model_version)} and {short(rate.other_model_version)}"
    if not rate.compared_count:
        return f"nothing was compared of {pair} yet"
    counts = f"{rate.disagreed_count} of {rate.compared_count} requests that were asked of both"
    skipped = f"; {rate.skipped_count} more were not compared" if rate.skipped_count else ""
    if not rate.disagreed_count:
        most = f"at most {_percent(rate.upper)} of all"
        return f"{pair} are not distinguishable: they disagree on {counts}, {most}{skipped}"
    interval = f"95 % interval {_percent(rate.lower)} to {_percent(rate.upper)}"
    return f"{pair} disagree on {counts}: {_percent(rate.rate)}, {interval}{skipped}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _reach(deployment: "Deployment", output: Output, *, detach: bool) -> None:
    """Write a deployment, unless `detach` once what is wanted is reached."""
    if not detach:
        _follow(deployment)
    _show(deployment, output)
    if not detach:
        deployment.check()


def _follow(deployment: "Deployment") -> None:
    told = ""
    if deployment.is_settled:
        return
    for _ in deployment.watch():
        line = f"{deployment.id} {deployment.state} {deployment.reason}".rstrip()
        # Between what is said and what comes of it nothing is to be told.
        if not told.startswith(line):
            typer.echo(line, err=True)
        told = line


def _show(deployment: "Deployment", output: Output) -> None:
    proto = deployment.proto
    rows = {
        "name": deployment.name,
        "state": deployment.state,
        "reason": deployment.reason,
        "runtime": proto.runtime,
        "serves": short(deployment.serving),
        "variant": short(proto.serving.model_variant),
        "candidate": short(deployment.candidate),
        "traffic": _share(deployment),
        "before": short(deployment.previous),
        "alias": proto.alias,
        "generation": f"{proto.observed_generation} of {proto.generation}",
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(deployment.labels.items())),
        "changed": f"{deployment.update_time:%Y-%m-%d %H:%M:%S} by {proto.updater}",
    }
    show(proto, rows, output)
    if output is Output.table and proto.replicas:
        cells = [_replica(one, proto.plan_generation) for one in proto.replicas]
        grid(("REPLICA", "LIVE", "PLAN", "SERVES", "CANDIDATE"), cells)


def _share(deployment: "Deployment") -> str:
    if not deployment.candidate:
        return ""
    return "shadow" if deployment.proto.shadow else f"{deployment.traffic} %"


def _replica(replica: "DeploymentReplica", plan: int) -> tuple[str, ...]:
    live = "yes" if replica.live else "no"
    return replica.id, live, f"{replica.observed_plan} of {plan}", _loaded(replica.serving), _loaded(replica.candidate)


def _loaded(model: "ReplicaModel") -> str:
    from bloomery.inference.v1 import ReplicaModel

    state = ReplicaModel.State.Name(model.state).removeprefix("STATE_") if model.state else ""
    return f"{state}: {model.reason}" if model.reason else state
