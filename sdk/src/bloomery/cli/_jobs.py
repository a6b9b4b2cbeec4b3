"""How the command line shows a job."""

from typing import TYPE_CHECKING

import typer

from bloomery._names import ORIGINAL, short, size
from bloomery.cli._history import headline, needs
from bloomery.cli._live import eta
from bloomery.cli._options import Output
from bloomery.cli._output import grid, show

if TYPE_CHECKING:
    from bloomery import Job
    from bloomery.training.v1 import PreflightReported


def show_job(job: "Job", output: Output, *, preflight: "PreflightReported | None" = None) -> None:
    """Write one job."""
    proto = job.proto
    rows = {
        "name": job.name,
        "kind": job.kind,
        "state": job.state,
        "reason": " ".join(filter(None, (job.reason.code, job.reason.message))),
        "hint": job.reason.hint,
        "progress": progress(job),
        "eta": eta(job),
        "preflight": needs(preflight) if preflight else "",
        "metrics": headline(sorted(job.metrics.items())),
        "recipe": proto.recipe,
        "base": proto.base if job.kind == "TRAIN" else "",
        "dataset": proto.dataset_version,
        "assets": _assets(job),
        "folder": _folder(job),
        "images": _images(job),
        "model": proto.model or proto.model_version,
        "variant": _variant(job),
        "parameters": dict(proto.parameters) or "",
        "labels": dict(proto.labels) or "",
        "group": proto.group,
        "priority": proto.priority or "",
        "attempt": proto.attempt or "",
        "device": job.progress.device,
        "energy": f"{job.energy / 1000:.3g} kJ" if job.energy is not None else "",
        "created": job.create_time,
        "ended": job.end_time,
    }
    show(proto, rows, output)


def _variant(job: "Job") -> str:
    """Which form of the model a job applies."""
    made = not job.proto.model_version or job.kind not in ("EVALUATE", "PREDICT")
    return "" if made else job.proto.model_variant.rpartition("/")[2] or ORIGINAL


def _assets(job: "Job") -> str:
    """Which images of the project a job predicts on, where it does."""
    if not job.proto.HasField("project_images"):
        return ""
    return f"{job.proto.project_images.filter or 'all'}, at sequence {job.proto.project_images.read_sequence}"


def _folder(job: "Job") -> str:
    """What was uploaded for a job that predicts on images of no project."""
    archives = job.proto.folder_images.archives
    return f"uploaded, {size(sum(one.size_bytes for one in archives))}" if archives else ""


def _images(job: "Job") -> str:
    """What became of the images of a training's dataset version, or of those that were predicted on."""
    if job.predicted:
        return ", ".join(f"{count} {what}" for what, count in job.predicted.items())
    data = job.data
    images = data.get("images", {})
    used = [f"{count} of {images.get(split, 0)} {split}" for split, count in data.get("used", {}).items()]
    left_out = [f"left out {what}: {count}" for what, count in data.get("left_out", {}).items()]
    return ", ".join([*used, *left_out])


def show_differences(before: "Job", after: "Job") -> None:
    """Write what two jobs do not have in common."""
    found = before.differences(after)
    if found:
        grid(("", before.id, after.id), [(one.what, one.before or "-", one.after or "-") for one in found])
    else:
        typer.echo(f"{before.id} and {after.id} do not differ")
    for job in (before, after):
        if job.state != "SUCCEEDED":
            typer.echo(
                f"{job.id} is {job.state}: versions and measurements are compared once it has succeeded", err=True
            )


def progress(job: "Job") -> str:
    """How far a job is, in a few words."""
    seen = job.progress
    epochs = f" {seen.epoch}/{seen.epochs}" if seen.epochs else ""
    return f"{seen.fraction:.0%}{epochs} {seen.phase}".rstrip() if seen.phase or epochs else ""


def subject(job: "Job") -> str:
    """What a job makes, or works on: a model, a version of one, a variant."""
    proto = job.proto
    if job.kind == "OPTIMIZE":
        form = "-".join(str(proto.parameters[name]) for name in ("format", "precision") if name in proto.parameters)
        return "/".join(filter(None, (short(proto.model_version), form)))
    return short(proto.model_variant or proto.model_version or proto.model)
