"""bloomery predict."""

import glob
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from bloomery import errors
from bloomery._names import counted, short
from bloomery.cli._options import Output, OutputOption, ProjectOption, SeenFormat, VersionArgument, connect
from bloomery.cli._output import as_json, dump, grid
from bloomery.cli._pairs import numbers
from bloomery.cli.annotations import place
from bloomery.cli.evaluate import MultiLabelOption

if TYPE_CHECKING:
    from bloomery import Asset, Client, ModelVersion, Predicted, Prediction
    from bloomery._aio.serving import PredictOptions
    from bloomery.cli._seen_files import SeenFiles

EXAMPLE = "Example: bloomery predict cells-v@1 image.jpg ./folder --save ./out --threshold 0.5 --classes RBC,WBC"


def run(
    version: VersionArgument,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="IMAGE...", help="Image files, folders of them, patterns.")
    ] = None,
    assets: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Instead of files, images of the project: all, annotated, unannotated, label:LABEL, split:NAME, "
            "name:TEXT.",
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for pictures with the shapes drawn on them.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for files of all that is seen, instead of a table.")] = None,
    format: Annotated[
        list[SeenFormat] | None,
        typer.Option(help="Of --to: JSON lines (the default), COCO with scores, YOLO with scores; may be repeated."),
    ] = None,
    to_annotations: Annotated[
        bool, typer.Option("--to-annotations", help="Save what is seen on --assets, but never over people's work.")
    ] = False,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Smallest score to return.")] = None,
    classes: Annotated[str, typer.Option(metavar="NAME,...", help="Only these classes.")] = "",
    multi_label: MultiLabelOption = False,
    variant: Annotated[
        str, typer.Option(metavar="ID", help="The one that answers, such as onnx-int8; the fastest by default.")
    ] = "",
    region: Annotated[
        str, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Look at this part of each image only, in its pixels.")
    ] = "",
    tile: Annotated[
        str,
        typer.Option(
            metavar="PIXELS|input",
            help="Look at large images in overlapping tiles of this side, or of the size of the model's input.",
        ),
    ] = "",
    tile_overlap: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Part of a tile that neighbours share; 0.2 by default.")
    ] = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Predict on images, in pixels of each. Goes on where one cannot be used, and exits with 1 then."""
    if bool(images) == (assets is not None):
        raise typer.BadParameter("give images, or --assets for those of the project", param_hint="IMAGE...")
    if to_annotations and assets is None:
        raise typer.BadParameter("needs --assets: import files first", param_hint="--to-annotations")
    if format and to is None:
        raise typer.BadParameter("needs --to: the folder to write to", param_hint="--format")
    report = _Report(output, save, to_annotations)
    options: PredictOptions = {
        "threshold": threshold,
        "classes": [name for name in classes.split(",") if name],
        "multi_label": multi_label,
        "variant": variant,
        "region": numbers(region, 4, "--region") if region else None,
        "tile": _side(tile) if tile else None,
        "tile_overlap": tile_overlap,
    }
    with connect(project) as client:
        model = client.model_version(version)
        if version not in (model.name, short(model.name)):
            report.say(f"{version} is {short(model.name)}")
        sources: Sequence[Path | Asset] = list(_below(images)) if images else _assets(client, model, assets or "")
        if not sources:
            report.say(f"no image of the project is meant by {assets}")
        with ExitStack() as stack:
            if to:
                report.files = stack.enter_context(_files(model, to, format or [SeenFormat.jsonl]))
            for one in model.predict_each(sources, **options):
                report.add(one)
    report.write()
    if report.failed:
        raise typer.Exit(1)


def _side(text: str) -> int:
    if text == "input":
        return 0
    if not text.isascii() or not text.isdigit() or text == "0":
        raise typer.BadParameter(f"must be a number of pixels, or input; not {text!r}", param_hint="--tile")
    return int(text)


def _files(model: "ModelVersion", to: Path, formats: Sequence[SeenFormat]) -> "AbstractContextManager[SeenFiles]":
    holding = {"detect": list(SeenFormat), "segment": [SeenFormat.jsonl, SeenFormat.coco]}.get(
        model.task, [SeenFormat.jsonl]
    )
    if unable := [one for one in formats if one not in holding]:
        text = f"{unable[0]} cannot hold what a model of {model.task} sees; take {' or '.join(holding)}"
        raise typer.BadParameter(text, param_hint="--format")
    from bloomery.cli._seen_files import writing

    return writing(to, formats, model.classes)


def _below(paths: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, or fit a pattern that no shell has replaced, and those in the folders that are.

    Raises:
        InvalidArgument: a folder has no images, or nothing fits a pattern.
    """
    from bloomery._images import images_below

    for path in paths:
        if glob.has_magic(str(path)) and not path.exists():
            fitting = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - of absolute ones, too
            if not fitting:
                raise errors.InvalidArgument(f"no file fits {path}")
            yield from _below(fitting)
            continue
        if not path.is_dir():
            yield path
            continue
        found = list(images_below(path))
        if not found:
            raise errors.InvalidArgument(
                f"{path} has no images", hint="files are known by endings such as .jpg and .png"
            )
        yield from found


def _assets(client: "Client", model: "ModelVersion", filter: str) -> "list[Asset]":
    from bloomery._names import parent_of

    project = client.project(parent_of(model.name, 2))
    return list(project.assets(filter="" if filter == "all" else filter))


@dataclass
class _Report:
    """What became of images: told line by line, written at the end."""

    output: Output
    save: Path | None
    to_annotations: bool
    failed: int = 0
    files: "SeenFiles | None" = None
    _found: "list[tuple[str, Prediction]]" = field(default_factory=list)
    _entries: list[dict[str, Any]] = field(default_factory=list)
    _names: Counter[str] = field(default_factory=Counter)
    _console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True, highlight=False))

    def add(self, one: "Predicted[Path | Asset]") -> None:
        """Take in the next image."""
        image = one.image
        name = str(image) if isinstance(image, Path) else image.display_name or image.id
        about = {"image": name} if isinstance(image, Path) else {"image": name, "asset": image.name}
        if one.error:
            self._refuse(name, about, one.error)
        elif one.prediction:
            self._take(image, name, about, one.prediction)

    def _take(self, image: "Path | Asset", name: str, about: dict[str, str], prediction: "Prediction") -> None:
        if self.files:
            self.files.add(name, prediction)
        if self.output is not Output.table:
            self._entries.append({**about, **as_json(prediction.proto)})
        elif not self.files:
            self._found.append((name, prediction))
        count = counted(len(prediction.shapes), "shape")
        took = f"{prediction.timings.total_ms:.0f} ms"
        done = [f"{count} in {took}"]
        if self.save:
            done.append(f"drawn in {self._draw(image, prediction, self.save)}")
        if self.to_annotations and not isinstance(image, Path):
            done.append(_annotate(image, prediction))
        self.say(f"{name}: {', '.join(done)}")

    def say(self, line: str) -> None:
        """Tell something beside the result."""
        self._console.print(escape(line))

    def write(self) -> None:
        """Write the shapes to stdout, or the files that have them."""
        if self.output is not Output.table:
            dump(self._entries, self.output)
            return
        for path in self.files.paths if self.files else ():
            typer.echo(path)
        rows = [
            (name, shape.label, shape.confidence, place(shape)) for name, seen in self._found for shape in seen.shapes
        ]
        if self._found:
            grid(("IMAGE", "LABEL", "SCORE", "X Y WIDTH HEIGHT"), rows)

    def _refuse(self, name: str, about: dict[str, str], error: errors.BloomeryError) -> None:
        self.failed += 1
        # Of the violations, all are about the image.
        violations = error.violations if isinstance(error, errors.InvalidArgument) else ()
        message = "; ".join(violation.description for violation in violations) or error.message
        told = {"reason": error.reason, "message": message}
        self._entries.append({**about, "error": told})
        if self.files:
            self.files.refuse(name, told)
        # The message of a file that could not be read names it.
        prefix = "" if message.startswith(name) else f"{escape(name)}: "
        self._console.print(f"[bold red]error:[/] {prefix}{escape(message)}")

    def _draw(self, image: "Path | Asset", prediction: "Prediction", folder: Path) -> Path:
        """Draw it under the name of its image: those of one name from several folders do not overwrite each other."""
        from bloomery import Prediction

        name = Path(image if isinstance(image, Path) else image.display_name or f"{image.id}.png")
        self._names[name.name] += 1
        same = self._names[name.name]
        target = folder / (name.name if same == 1 else f"{name.stem}-{same}{name.suffix}")
        if isinstance(image, Path):
            return prediction.save(target)
        with tempfile.TemporaryDirectory() as scratch:
            return Prediction(prediction.proto, image.download(Path(scratch, "image"))).save(target)


def _annotate(asset: "Asset", prediction: "Prediction") -> str:
    try:
        asset.save_annotations(prediction)
    except errors.FailedPrecondition as error:
        if error.reason != "ANNOTATED_BY_PEOPLE":
            raise
        return "left alone: people annotated it"
    except errors.Conflict:
        return "left alone: somebody saved at the same time"
    return "saved"
