"""bloomery predict."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery import errors
from bloomery._names import short
from bloomery.cli._options import Output, OutputOption, ProjectOption, SeenFormat, SeenMasks, connect
from bloomery.cli._pairs import numbers
from bloomery.cli._seen import Report
from bloomery.cli._seen_formats import refuse_formats
from bloomery.cli._sources import BLOB, sources_of
from bloomery.cli.evaluate import MultiLabelOption

if TYPE_CHECKING:
    from bloomery import Asset, Blob, Client, Deployment, ModelVersion
    from bloomery._aio.predicting import PredictOptions
    from bloomery._seen_files import SeenFiles

EXAMPLE = "Example: bloomery predict cells-v@1 image.jpg ./folder --save ./out --threshold 0.5 --classes RBC,WBC"


def run(
    version: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL[@VERSION]]", help="The newest version by default. Left out with --deployment."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, videos, folders of them, patterns; rtsp://... of a camera, - for a video on stdin, "
            "sha256:... of a blob of the project.",
        ),
    ] = None,
    assets: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            help="Instead of files, images of the project: all, annotated, unannotated, label:LABEL, split:NAME, "
            "name:TEXT.",
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Folder for pictures and videos with the shapes drawn on them.")
    ] = None,
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
    masks: Annotated[
        SeenMasks, typer.Option(help="How a segmenter's masks are answered; --format yolo takes polygons.")
    ] = SeenMasks.rle,
    every: Annotated[int, typer.Option(min=1, help="Of videos, look at every so many frames only.")] = 1,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Of videos, look at so many frames a second at most.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(metavar="ID", help="Ask this deployment instead of a model version.")
    ] = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Predict on images and videos, in pixels of each. Goes on where one cannot be used, and exits with 1 then."""
    if deployment:
        # What comes first is an image then.
        images, version = [*filter(None, [version]), *(images or [])], None
    _check(version or "", images or [], assets=assets is not None, save=save is not None, to_annotations=to_annotations)
    if format and to is None:
        raise typer.BadParameter("needs --to: the folder to write to", param_hint="--format")
    report = Report(output, save, to_annotations)
    options: PredictOptions = {
        "threshold": threshold,
        "classes": [name for name in classes.split(",") if name],
        "multi_label": multi_label,
        "variant": variant,
        "region": numbers(region, 4, "--region") if region else None,
        "tile": _side(tile) if tile else None,
        "tile_overlap": tile_overlap,
        "masks": masks.value,
    }
    with connect(project) as client:
        asked, model = _asked(client, version, deployment)
        if version and version not in (model.name, short(model.name)):
            report.say(f"{version} is {short(model.name)}")
        sources = sources_of(images) if images else [_assets(client, model, assets or "")]
        if not any(sources):
            report.say(f"no image of the project is meant by {assets}")
        with ExitStack() as stack:
            if format and SeenFormat.yolo in format:
                options["masks"] = "polygons"
            if to:
                report.files = stack.enter_context(_files(model, to, format or [SeenFormat.jsonl]))
            for source in sources:
                if isinstance(source, str):
                    _watch(asked, source, report, (every, fps), options)
                else:
                    _look(asked, source, report, options)
    report.write()
    if report.failed:
        raise typer.Exit(1)


def _asked(
    client: "Client", version: str | None, deployment: str | None
) -> "tuple[ModelVersion | Deployment, ModelVersion]":
    """Who is asked, and the version that answers, or that a deployment serves now."""
    if not deployment:
        if not version:
            raise typer.BadParameter("give a model version, or --deployment", param_hint="MODEL[@VERSION]")
        model = client.model_version(version)
        return model, model
    found = client.deployment(deployment)
    return found, client.model_version(found.serving or found.candidate)


def _check(version: str, images: Sequence[str], *, assets: bool, save: bool, to_annotations: bool) -> None:
    if bool(images) == assets:
        if not images and Path(version).is_file():
            raise typer.BadParameter(f"{version} is no model: name one before the images", param_hint="MODEL[@VERSION]")
        raise typer.BadParameter("give images, or --assets for those of the project", param_hint="IMAGE...")
    if save and any(name.startswith(BLOB) for name in images):
        raise typer.BadParameter("cannot draw on blobs, whose bytes are not here", param_hint="--save")
    if to_annotations and not assets:
        raise typer.BadParameter("needs --assets: import files first", param_hint="--to-annotations")


def _look(
    asked: "ModelVersion | Deployment",
    images: "Sequence[Path | Blob | Asset]",
    report: Report,
    options: "PredictOptions",
) -> None:
    for one in asked.predict_each(images, **options):
        report.add(one)


def _watch(
    asked: "ModelVersion | Deployment",
    video: str,
    report: Report,
    rate: tuple[int, float | None],
    options: "PredictOptions",
) -> None:
    """Predict on a video to its end, or that of people's patience."""
    with report.video(video) as seen:
        try:
            for one in asked.predict_video(video, every=rate[0], fps=rate[1], **options):
                seen.add(one)
        except errors.InvalidArgument as error:
            if {violation.where for violation in error.violations} != {"video"}:
                raise
            report.refuse(video, error, {})
        except KeyboardInterrupt:
            # What has no end is ended by somebody.
            if "://" not in video and video != "-":
                raise
    seen.tell()


def _side(text: str) -> int:
    if text == "input":
        return 0
    if not text.isascii() or not text.isdigit() or text == "0":
        raise typer.BadParameter(f"must be a number of pixels, or input; not {text!r}", param_hint="--tile")
    return int(text)


def _files(model: "ModelVersion", to: Path, formats: Sequence[SeenFormat]) -> "AbstractContextManager[SeenFiles]":
    from bloomery._seen_files import writing

    refuse_formats(formats, model.task)
    return writing(to, formats, model.classes)


def _assets(client: "Client", model: "ModelVersion", filter: str) -> "list[Asset]":
    from bloomery._names import parent_of

    project = client.project(parent_of(model.name, 2))
    return list(project.assets(filter="" if filter == "all" else filter))
