"""bloomery models import."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bloomery._foreign import Decoder, Layout, Scale
from bloomery.cli._making import show_making
from bloomery.cli._options import Output, OutputOption, ProjectOption, Task, connect

EXAMPLE = "Example: bloomery models import best.onnx --model mine --task detect --follow"


def run(
    file: Annotated[
        Path,
        typer.Argument(help="A .pt file of Ultralytics, an .onnx file, or a folder with one, as Triton has them."),
    ],
    model: Annotated[str, typer.Option(help="Model to publish under.")],
    task: Annotated[Task | None, typer.Option(help="What the model does.")] = None,
    recipe: Annotated[str | None, typer.Option(help="The one that reads it, such as yolo-detect; by --task.")] = None,
    imgsz: Annotated[
        int | None, typer.Option(help="Side of the input of a .pt file; the one that it was trained with by default.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="FILE|A,B", help="Names of the classes, or a file with one a line.")
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="WIDTHxHEIGHT", help="Size of the input of an .onnx file.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Order of the input's axes.")] = None,
    scale: Annotated[Scale | None, typer.Option(help="What becomes of a pixel's value.")] = None,
    decoder: Annotated[Decoder | None, typer.Option(help="How the outputs are read.")] = None,
    name: Annotated[str, typer.Option(help="Id of the job; made by the server by default.")] = "",
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show the model version; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Import a model that was trained elsewhere: a job reads the file, safely, and publishes a version.

    What an .onnx file means is found out where that is possible; what is missing is asked for, all at once.
    """
    if (task is None) == (recipe is None):
        raise typer.BadParameter("say by --task what the model does, or name a --recipe", param_hint="--task")
    with connect(project) as client:
        job = client.project(project).import_model(
            file,
            model=model,
            recipe=recipe,
            task=task.value if task else None,
            name=name,
            imgsz=imgsz,
            classes=_class_names(classes),
            size=_sides(input_),
            layout=layout,
            scale=scale,
            decoder=decoder,
        )
        show_making(job, output, follow=follow_)


def _class_names(given: str | None) -> list[str] | None:
    if given is None:
        return None
    # Many names are no name of a file, which Path would not bear.
    is_file = os.path.isfile(given)  # noqa: PTH113
    try:
        names = Path(given).read_text("utf-8").splitlines() if is_file else given.split(",")
    except UnicodeDecodeError:
        raise typer.BadParameter(f"{given} is no UTF-8 text", param_hint="--classes") from None
    return [name.strip() for name in names if name.strip()]


def _sides(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    width, _, height = given.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{given!r} is no size; give WIDTHxHEIGHT, such as 640x640", param_hint="--input")
    return int(width), int(height)
