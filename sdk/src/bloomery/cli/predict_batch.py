"""bloomery predict-batch."""

from pathlib import Path
from typing import Annotated

import typer

from bloomery.cli._jobs import show_job
from bloomery.cli._live import follow_new
from bloomery.cli._options import Output, OutputOption, ProjectOption, VersionArgument, connect
from bloomery.cli._progress import steps
from bloomery.cli.evaluate import GpusOption, JobNameOption, MultiLabelOption, OnOption, Split

EXAMPLE = "Example: bloomery predict-batch cells-v@1 --on cells-v@1 --split test --to ./out"


def run(
    version: VersionArgument,
    on: OnOption,
    split: Annotated[Split, typer.Option(help="Whose images.")] = Split.test,
    confidence: Annotated[float | None, typer.Option(min=0, max=1, help="Smallest score to write down.")] = None,
    iou: Annotated[
        float | None, typer.Option(min=0, max=1, help="Overlap from which the weaker of two boxes of a class goes.")
    ] = None,
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
    """Predict on the images of a dataset version. The job goes on by itself; --to waits for its file."""
    with connect(project) as client:
        job = client.model_version(version).predict_dataset(
            on,
            split=split.value,
            confidence=confidence,
            iou=iou,
            multi_label=multi_label,
            suggest=suggest,
            name=name,
            gpus=gpus,
        )
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
