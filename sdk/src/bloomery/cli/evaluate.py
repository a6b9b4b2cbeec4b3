"""bloomery evaluate."""

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._evaluations import is_main, main_metrics
from bloomery.cli._jobs import show_job
from bloomery.cli._live import follow_new
from bloomery.cli._options import LARGEST, Output, OutputOption, ProjectOption, VersionArgument, connect
from bloomery.cli._output import as_json, dump, grid, show

if TYPE_CHECKING:
    from bloomery import Evaluation, Job

EXAMPLE = "Example: bloomery evaluate cells-v@1 --on cells-v@2 --follow"


class Split(StrEnum):
    """The images of a dataset version."""

    test = "test"
    val = "val"
    train = "train"
    all = "all"


OnOption = Annotated[
    str, typer.Option("--on", metavar="DATASET[@VERSION]", help="Dataset version; the newest by default.")
]
JobNameOption = Annotated[str, typer.Option("--name", help="Id of the job; made by the server by default.")]
MultiLabelOption = Annotated[
    bool,
    typer.Option("--multi-label", help="Let one place answer for several classes, as Ultralytics' validation does."),
]
VariantOption = Annotated[
    str, typer.Option("--variant", metavar="FORM", help="Measure this variant, such as onnx-int8, by its own runtime.")
]
GpusOption = Annotated[int, typer.Option(min=0, max=LARGEST, help="How many; 0 for the recipe's default.")]


def run(
    version: VersionArgument,
    on: OnOption,
    split: Annotated[Split, typer.Option(help="Whose images; what the model was trained on flatters it.")] = Split.test,
    variant: VariantOption = "",
    multi_label: MultiLabelOption = False,
    name: JobNameOption = "",
    gpus: GpusOption = 0,
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show the figures; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Measure a model on a dataset version, by the evaluation that every training ends with."""
    with connect(project) as client:
        job = client.model_version(version).evaluate(
            on, split=split.value, variant=variant, multi_label=multi_label, name=name, gpus=gpus
        )
        if not follow_:
            show_job(job, output)
            return
        follow_new(job)
        show_evaluations(job.check(), output)


def show_evaluations(job: "Job", output: Output) -> None:
    """Write what a finished job has measured, with a table of the classes."""
    found = job.evaluations()
    if output is not Output.table:
        dump({**as_json(job.proto), "evaluations": [asdict(one) for one in found]}, output)
        return
    for evaluation in found:
        rows = {
            "job": job.name,
            "model": job.proto.model_variant or job.proto.model_version,
            "dataset": job.proto.dataset_version,
            "split": evaluation.split,
            "images": evaluation.images,
            "metrics": main_metrics(evaluation.metrics),
            "details": {name: value for name, value in evaluation.metrics.items() if not is_main(name)} or "",
        }
        show(job.proto, rows, output)
        _classes(evaluation)


def _classes(evaluation: "Evaluation") -> None:
    names = dict.fromkeys(name for one in evaluation.per_class for name in one)
    titles = [name for name in names if name != "index" and (name == "f1" or is_main(name))]
    rows = [[one.get(name) for name in titles] for one in evaluation.per_class]
    grid([title.upper().replace("_", " ") for title in titles], rows)
