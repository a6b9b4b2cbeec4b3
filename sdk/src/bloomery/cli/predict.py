"""bloomery predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import as_json, dump, grid
from bloomery.cli.annotations import place
from bloomery.cli.models import VersionArgument

if TYPE_CHECKING:
    from bloomery import Prediction

EXAMPLE = "Example: bloomery predict cells-v@1 image.jpg --save ./out --threshold 0.5 --classes RBC,WBC"


def run(
    version: VersionArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    save: Annotated[Path | None, typer.Option(help="Folder for pictures with the shapes drawn on them.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Smallest score to return.")] = None,
    classes: Annotated[str, typer.Option(metavar="NAME,...", help="Only these classes.")] = "",
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Predict on images, in pixels of each image."""
    wanted = [name for name in classes.split(",") if name]
    found: list[tuple[Path, Prediction]] = []
    with connect(project) as client:
        model = client.model_version(version)
        for number, image in enumerate(images):
            prediction = model.predict(image, threshold=threshold, classes=wanted)
            found.append((image, prediction))
            if save:
                saved = prediction.save(_target(save, image, images[:number]))
                typer.echo(saved, err=output is not Output.table)
    if output is Output.table:
        _table(found)
    else:
        dump([{"image": str(image), **as_json(prediction.proto)} for image, prediction in found], output)


def _target(folder: Path, image: Path, before: list[Path]) -> Path:
    """Where the picture of an image goes: images of one name from several folders do not overwrite each other."""
    same = sum(other.name == image.name for other in before)
    return folder / (f"{image.stem}-{same + 1}{image.suffix}" if same else image.name)


def _table(found: "list[tuple[Path, Prediction]]") -> None:
    rows = [
        (image, shape.label, shape.confidence, place(shape))
        for image, prediction in found
        for shape in prediction.shapes
    ]
    grid(("IMAGE", "LABEL", "SCORE", "X Y WIDTH HEIGHT"), rows)
    for image, prediction in found:
        count = len(prediction.shapes)
        took = f"{prediction.timings.total_ms:.0f} ms"
        typer.echo(f"{image}: {count} {'shape' if count == 1 else 'shapes'} in {took}", err=True)
