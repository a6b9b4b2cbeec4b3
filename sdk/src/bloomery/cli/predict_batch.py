"""bloomery predict-batch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._jobs import show_job
from bloomery.cli._live import follow_new
from bloomery.cli._options import (
    Output,
    OutputOption,
    ProjectOption,
    SeenFormat,
    SeenMasks,
    VersionArgument,
    connect,
)
from bloomery.cli._progress import steps
from bloomery.cli._seen_formats import refuse_formats
from bloomery.cli.evaluate import GpusOption, JobNameOption, MultiLabelOption, Split

if TYPE_CHECKING:
    from bloomery import ModelVersion
    from bloomery._aio.batches import BatchOptions

EXAMPLE = "Example: bloomery predict-batch cells-v@1 --on cells-v@1 --split test --to ./out"


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
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Instead of a dataset version, the images of a folder, or of a zip file of one, that are not the "
            "project's: uploaded for this job alone.",
        ),
    ] = None,
    split: Annotated[Split | None, typer.Option(help="Whose images of the dataset version; test by default.")] = None,
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            metavar="FORM",
            help="Predict with this variant, such as onnx-int8, by its own runtime, or checkpoint; the fastest READY "
            "one that the worker runs by default.",
        ),
    ] = "",
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Smallest score to write down.")] = None,
    iou_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap from which the weaker of two boxes of a class goes.")
    ] = None,
    classes: Annotated[str, typer.Option(metavar="NAME,...", help="Only these classes.")] = "",
    max_shapes: Annotated[int | None, typer.Option(min=1, help="At most so many on one image, best first.")] = None,
    multi_label: MultiLabelOption = False,
    masks: Annotated[
        SeenMasks, typer.Option(help="How a segmenter's masks are written; --format yolo takes polygons.")
    ] = SeenMasks.rle,
    suggest: Annotated[
        bool,
        typer.Option(
            "--suggest", help="Also save it as suggestions beside people's shapes: see `bloomery suggestions`."
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="Watch to the end and write the predictions to this folder; Ctrl-C only detaches."),
    ] = None,
    format: Annotated[
        list[SeenFormat] | None,
        typer.Option(help="Of --to: JSON lines (the default), COCO or YOLO with scores, Parquet; may be repeated."),
    ] = None,
    name: JobNameOption = "",
    gpus: GpusOption = 0,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Predict on the images of a dataset version, the project, or a folder.

    The job goes on by itself; --to waits for its file.
    """
    _check(on=on, assets=assets, folder=folder, split=split, suggest=suggest)
    with connect(project) as client:
        model = client.model_version(version)
        formats = _formats(model, format, to)
        options: BatchOptions = {
            "variant": variant,
            "threshold": threshold,
            "iou_threshold": iou_threshold,
            "classes": [name for name in classes.split(",") if name],
            "max_shapes": max_shapes,
            "multi_label": multi_label,
            "masks": "polygons" if SeenFormat.yolo in formats and model.task == "segment" else masks.value,
            "name": name,
            "gpus": gpus,
        }
        if folder is not None:
            with steps() as tell:
                job = model.predict_folder(folder, progress=tell, **options)
        elif assets is not None:
            job = model.predict_project("" if assets == "all" else assets, suggest=suggest, **options)
        else:
            job = model.predict_dataset(on, split=(split or Split.test).value, suggest=suggest, **options)
        if to is None:
            show_job(job, output)
            return
        follow_new(job)
        with steps() as tell:
            paths = job.check().write_predictions(to, formats=[one.value for one in formats], progress=tell)
        if output is Output.table:
            typer.echo("\n".join(map(str, paths)))
        else:
            show_job(job, output)


def _formats(model: "ModelVersion", given: list[SeenFormat] | None, to: Path | None) -> list[SeenFormat]:
    """The formats to write, checked before a job is started for them."""
    if given and to is None:
        raise typer.BadParameter("needs --to", param_hint="--format")
    refuse_formats(given or [], model.task)
    return given or [SeenFormat.jsonl]


def _check(*, on: str, assets: str | None, folder: Path | None, split: Split | None, suggest: bool) -> None:
    if [bool(on), assets is not None, folder is not None].count(True) != 1:
        text = "name a dataset version, --assets for images of the project, or --folder for images of no project"
        raise typer.BadParameter(text, param_hint="--on")
    if split and not on:
        raise typer.BadParameter("is of dataset versions; write --assets split:NAME", param_hint="--split")
    if suggest and folder is not None:
        text = "suggestions lie on images of the project: `bloomery import` the folder, then name them by --assets"
        raise typer.BadParameter(text, param_hint="--suggest")
