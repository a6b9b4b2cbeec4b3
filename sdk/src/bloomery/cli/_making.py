"""Model versions as the commands show them that make some."""

from typing import TYPE_CHECKING

from bloomery._evaluations import main_metrics
from bloomery.cli._jobs import show_job
from bloomery.cli._live import follow_new
from bloomery.cli._options import Output
from bloomery.cli._output import grid, show

if TYPE_CHECKING:
    from bloomery import Job, ModelVersion


def show_making(job: "Job", output: Output, *, follow: bool) -> None:
    """Write a job that was just created; with `follow`, the model version that it made once it is over.

    Raises:
        JobFailed: it ended FAILED or CANCELLED.
    """
    if not follow:
        show_job(job, output)
        return
    follow_new(job)
    show_version(job.check().model_version(), output)


def show_version(version: "ModelVersion", output: Output) -> None:
    """Write one model version."""
    proto, lineage = version.proto, version.lineage
    rows = {
        "name": version.name,
        "aliases": ", ".join(version.aliases),
        "state": "" if version.active else "inactive",
        "note": version.note,
        "task": version.task,
        "classes": version.classes,
        "input": f"{proto.input.width} x {proto.input.height}" if proto.input.width else "",
        "metrics": main_metrics(version.metrics) or "",
        "job": lineage.job,
        "recipe": lineage.recipe,
        "dataset": lineage.dataset_version,
        "base": lineage.base,
        "license": lineage.license,
        "created": version.create_time,
    }
    show(proto, rows, output)
    if output is Output.table and proto.variants:
        grid(
            ("VARIANT", "STATE", "PRECISION", "DEVICE", "P50 MS"),
            [
                (
                    one.name.rpartition("/")[2],
                    one.State.Name(one.state).removeprefix("STATE_"),
                    one.precision,
                    one.device,
                    one.latency.p50_ms or "",
                )
                for one in proto.variants
            ],
        )
