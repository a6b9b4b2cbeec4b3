"""bloomery predict-batch."""

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from bloomery.cli._jobs import show_job
from bloomery.cli._live import follow_new
from bloomery.cli._options import Output, OutputOption, ProjectOption, VersionArgument, connect
from bloomery.cli._progress import steps
from bloomery.cli.evaluate import GpusOption, JobNameOption, MultiLabelOption, Split

EXAMPLE = "Example: bloomery predict-batch cells-v@1 --on cells-v@1 --split test --to ./out"


class _Options(TypedDict):
    variant: str
    confidence: float | None
    iou: float | None
    classes: list[str]
    max_shapes: int | None
    multi_label: bool
    suggest: bool
    name: str
    gpus: int


def run(
    version: VersionArgument,
    on: Annotated[
        str, typer.Option("--on", metavar="DATASET[@VERSION]", help="Dataset version; the newest by default.")
    ] = "",
    assets: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Instead of a dataset version, images of the project as they are now: all, annotated, unannotated, "
            "label:LABEL, split:NAME, name:TEXT.",
        ),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="Whose images of the dataset version; test by default.")] = None,
    variant: Annotated[
        str,
        typer.Option(
            "--variant", metavar="FORM", help="Predict with this variant, such as onnx-int8, by its own runtime."
        ),
    ] = "",
    confidence: Annotated[float | None, typer.Option(min=0, max=1, help="Smallest score to write down.")] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap from which the weaker of two boxes of a class goes.")
    ] = None,
    classes: Annotated[str, typer.Option(metavar="NAME,...", help="Only these classes.")] = "",
    max_shapes: Annotated[int | None, typer.Option(min=1, help="At most so many on one image, best first.")] = None,
    multi_label: MultiLabelOption = False,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", help="Also save it as suggestions beside people's shapes: see `bloomery suggestions`."
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="Watch to the end and write predictions.jsonl to this folder; Ctrl-C only detaches."),
    ] = None,
    name: JobNameOption = "",
    gpus: GpusOption = 0,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Predict on the images of a dataset version or a project. The job goes on by itself; --to waits for its file."""
    _check(on=on, assets=assets, split=split)
    with connect(project) as client:
        model = client.model_version(version)
        options: _Options = {
            "variant": variant,
            "confidence": confidence,
            "iou": iou,
            "classes": [name for name in classes.split(",") if name],
            "max_shapes": max_shapes,
            "multi_label": multi_label,
            "suggest": suggest,
            "name": name,
            "gpus": gpus,
        }
        if assets is None:
            job = model.predict_dataset(on, split=(split or Split.test).value, **options)
        else:
            job = model.predict_project("" if assets == "all" else assets, **options)
        if to is None:
            show_job(job, output)
            return
        follow_new(job)
        with steps() as tell:
            [path] = job.check().download(to, role="predictions", progress=tell)
        if output is Output.table:
            typer.echo(path)
        else:
            show_job(job, output)


def _check(*, on: str, assets: str | None, split: Split | None) -> None:
    if bool(on) == (assets is not None):
        raise typer.BadParameter("name a dataset version, or --assets for images of the project", param_hint="--on")
    if split and assets is not None:
        raise typer.BadParameter("is of dataset versions; write --assets split:NAME", param_hint="--split")
