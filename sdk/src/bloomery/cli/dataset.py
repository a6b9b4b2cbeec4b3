"""bloomery dataset: build, list, show, versions, delete."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bloomery._names import enumerated, size
from bloomery.cli._options import LimitOption, Output, OutputOption, ProjectOption, Task, YesOption, connect
from bloomery.cli._output import grid, listing, show
from bloomery.cli._pairs import pairs
from bloomery.cli._progress import steps
from bloomery.cli.lineage import show_dataset

if TYPE_CHECKING:
    from bloomery import DatasetVersion
    from bloomery.dataset.v1 import CropSpec

_MOST_CLASSES = 20


class Unassigned(StrEnum):
    """Parts for images without an official split."""

    train = "train"
    val = "val"
    test = "test"
    drop = "drop"


app = typer.Typer(help="Datasets: fixed choices of images with labels and split.", no_args_is_help=True)


@app.command(epilog="Example: bloomery dataset build cells-v --project cells --split 70/20/10 --seed 7 --kind detect")
def build(
    dataset: Annotated[str, typer.Argument(help="Id; made where it does not exist.")],
    project: ProjectOption = None,
    split: Annotated[
        str, typer.Option(help="Percents of train/val/test, or official for the split that was imported.")
    ] = "80/10/10",
    seed: Annotated[
        int,
        typer.Option(min=-(2**63), max=2**63 - 1, help="The same seed, images and labels give the same split."),
    ] = 0,
    kind: Annotated[Task, typer.Option(help="What the dataset is for: decides which shapes are kept.")] = Task.detect,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS", help="Class of a label, empty to leave it out; other labels keep their names."
        ),
    ] = None,
    include_empty: Annotated[
        bool | None,
        typer.Option(
            "--include-empty/--no-include-empty",
            help="Also take images that are annotated as empty; so by default, but for classify.",
            show_default=False,
        ),
    ] = None,
    include_unannotated: Annotated[
        bool, typer.Option("--include-unannotated", help="Also take images that nobody annotated, as background.")
    ] = False,
    unassigned: Annotated[
        Unassigned | None,
        typer.Option(
            help="With --split official: where images without a split go, or drop to leave them out; needed for such."
        ),
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Build a version of a dataset and wait until it is ready."""
    mapping = pairs(class_map or [], "--class-map")
    with connect(project) as client, steps() as tell:
        version = client.project(project).build_dataset(
            dataset,
            split=split,
            seed=seed,
            task=kind.value,
            class_mapping=mapping,
            include_empty=include_empty,
            include_unannotated=include_unannotated,
            unassigned=unassigned.value if unassigned else None,
        )
        version.wait(progress=tell)
    _show(version, output)


@app.command(epilog="Example: bloomery dataset crops cells-crops --from cells-v@1 --margin 0.1 --square")
def crops(
    dataset: Annotated[str, typer.Argument(help="Id; made where it does not exist.")],
    project: ProjectOption = None,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="DATASET@VERSION",
            help="Version whose boxes are cut out, with its split; the project's images by default.",
            show_default=False,
        ),
    ] = "",
    margin: Annotated[
        float, typer.Option(min=0, max=10, help="Added to a box on each side, as a share of its width and height.")
    ] = 0.0,
    smallest_side: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pixels; crops of which a side is shorter are left out.")
    ] = 10,
    square: Annotated[bool, typer.Option("--square", help="Make the shorter side as long as the longer one.")] = False,
    split: Annotated[
        str,
        typer.Option(
            help="Without --from: percents of train/val/test, or official; 80/10/10 by default. All crops of an image "
            "are in one part.",
            show_default=False,
        ),
    ] = "",
    seed: Annotated[
        int,
        typer.Option(min=-(2**63), max=2**63 - 1, help="The same seed, images and labels give the same split."),
    ] = 0,
    class_map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL=CLASS", help="Class of a label, empty to leave it out; other labels keep their names."
        ),
    ] = None,
    unassigned: Annotated[
        Unassigned | None,
        typer.Option(
            help="With --split official: where images without a split go, or drop to leave them out; needed for such."
        ),
    ] = None,
    output: OutputOption = Output.table,
) -> None:
    """Build a version for classification of one image for each box, and wait until it is ready."""
    mapping = pairs(class_map or [], "--class-map")
    with connect(project) as client, steps() as tell:
        version = client.project(project).build_crops(
            dataset,
            source=source,
            margin=margin,
            smallest_side=smallest_side,
            square=square,
            split=split,
            seed=seed,
            class_mapping=mapping,
            unassigned=unassigned.value if unassigned else None,
        )
        version.wait(progress=tell)
    _show(version, output)


@app.command("list", epilog="Example: bloomery dataset list")
def list_(project: ProjectOption = None, limit: LimitOption = 100, output: OutputOption = Output.table) -> None:
    """List datasets, of all projects where none is given."""
    columns = {
        "DATASET": lambda dataset: dataset.id,
        "LATEST": lambda dataset: f"{dataset.id}@{dataset.latest_version}" if dataset.latest_version else "",
        "NAME": lambda dataset: dataset.name,
    }
    with connect(project) as client:
        listing(client.datasets(), columns, output, limit)


@app.command("show", epilog="Example: bloomery dataset show cells-v@1")
def show_(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show a version with its counts."""
    with connect(project) as client:
        _show(client.dataset_version(version), output)


@app.command(epilog="Example: bloomery dataset lineage cells-v@1")
def lineage(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Show which images a version has read, and which models were made from it."""
    with connect(project) as client:
        show_dataset(client.dataset_version(version), output)


@app.command(epilog="Example: bloomery dataset versions cells-v")
def versions(
    dataset: Annotated[str, typer.Argument(help="Id or full name.")],
    project: ProjectOption = None,
    limit: LimitOption = 100,
    output: OutputOption = Output.table,
) -> None:
    """List the versions of a dataset, newest first."""
    columns = {
        "VERSION": lambda version: version.version or version.id,
        "STATE": lambda version: version.state,
        "TASK": lambda version: version.task,
        "CLASSES": lambda version: version.classes,
        "IMAGES": lambda version: sum(part.image_count for part in version.statistics.splits),
        "CONTENT": lambda version: version.content_hash[:19],
    }
    with connect(project) as client:
        listing(client.dataset(dataset).versions(), columns, output, limit)


@app.command(epilog="Example: bloomery dataset delete cells-v@1 --yes")
def delete(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET[@VERSION]", help="One version, or without it the dataset with all.")
    ],
    project: ProjectOption = None,
    yes: YesOption = False,
) -> None:
    """Delete a version, or a whole dataset, that no job and no model holds."""
    with connect(project) as client:
        one_version = "@" in dataset or "/versions/" in dataset
        found = client.dataset_version(dataset) if one_version else client.dataset(dataset)
        if not yes:
            typer.confirm(f"Delete {found.name}{'' if one_version else ' with all its versions'}?", abort=True)
        found.delete()


def _show(version: "DatasetVersion", output: Output) -> None:
    proto, statistics = version.proto, version.statistics
    crops = proto.spec.HasField("crops")
    kept_images = sum(part.image_count for part in statistics.splits)
    if crops:
        kept_images = statistics.source_image_count - sum(statistics.skipped_images.values())
    whose = "the version's" if "/datasets/" in proto.spec.source else "the project's"
    kept_shapes = sum(sum(part.shapes.values()) + part.crowd_count for part in statistics.splits)
    rows = {
        "name": version.name,
        "state": version.state,
        "error": proto.error.message,
        "reused": "yes: nothing had changed" if version.reused else "",
        "task": version.task,
        "crops of": f"{proto.spec.source}, {_cutting(proto.spec.crops)}" if crops else "",
        "classes": enumerated(version.classes, 20),
        "content": version.content_hash,
        "bytes": size(statistics.total_bytes),
        "images kept": _ledger(whose, statistics.source_image_count, kept_images, statistics.skipped_images),
        "shapes kept": _ledger(whose, statistics.source_shape_count, kept_shapes, statistics.skipped_shapes),
        "changed": dict(statistics.adjusted_shapes) or "",
    }
    show(proto, rows, output)
    if output is Output.table:
        _counts(version)
        _warnings(version)


def _cutting(crops: "CropSpec") -> str:
    """How crops are cut, in words."""
    form = "square, " if crops.square else ""
    return f"{form}margin {crops.margin:g}, sides of {crops.smallest_side} pixels and more"


def _ledger(whose: str, source: int, kept: int, left_out: Mapping[str, int]) -> str:
    """What became of all that the source has: kept, or left out by reason."""
    reasons = ", ".join(f"{reason}={count}" for reason, count in sorted(left_out.items()))
    # Older versions do not say what there was.
    whole = f" of {whose} {source}" if source else ""
    return f"{kept}{whole}" + (f"; left out {sum(left_out.values())}: {reasons}" if reasons else "")


def _counts(version: "DatasetVersion") -> None:
    splits = version.statistics.splits
    crowds = [part.crowd_count for part in splits]
    counts = [
        ("images", *(part.image_count for part in splits)),
        ("without shapes", *(part.empty_count for part in splits)),
        *([("crowds", *crowds)] if any(crowds) else []),
        *_folded([(name, *(part.shapes[name] for part in splits)) for name in version.classes]),
    ]
    grid(("", *(part.split.upper() for part in splits)), counts)


def _folded(classes: "Sequence[tuple[str, *tuple[int, ...]]]") -> "Sequence[tuple[object, ...]]":
    """The counts of all classes; of very many, those of the most and the least frequent."""
    if len(classes) <= _MOST_CLASSES:
        return classes
    by_count = sorted(classes, key=lambda row: -sum(row[1:]))
    half = _MOST_CLASSES // 2
    return [*by_count[:half], (f"... {len(classes) - 2 * half} more, see -o json",), *by_count[-half:]]


def _warnings(version: "DatasetVersion") -> None:
    err = Console(stderr=True, soft_wrap=True, highlight=False)
    for warning in version.proto.warnings:
        err.print(f"[yellow]{escape(warning.message)}[/]: {escape(warning.hint)}")
