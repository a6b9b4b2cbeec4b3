"""Options that many commands share."""

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bloomery import Client


class SeenFormat(StrEnum):
    """Formats of files of predictions."""

    jsonl = "jsonl"
    coco = "coco"
    yolo = "yolo"
    parquet = "parquet"


class SeenMasks(StrEnum):
    """Forms of masks."""

    rle = "rle"
    polygons = "polygons"


class Output(StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    yaml = "yaml"


class Role(StrEnum):
    """What somebody may do, each more than the one before."""

    viewer = "viewer"
    annotator = "annotator"
    trainer = "trainer"
    admin = "admin"


class Task(StrEnum):
    """What a dataset is for."""

    detect = "detect"
    segment = "segment"
    classify = "classify"


LARGEST = 2**31 - 1
"""The largest whole number that the API's fields of 32 bits take."""

ProjectOption = Annotated[
    str | None,
    typer.Option("--project", "-p", envvar="BLOOMERY_PROJECT", help="Project; the only one by default."),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="How to write the result: json and yaml are the API's own messages.")
]
VersionArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL[@VERSION]", help="A number or an alias; the newest version by default. Or a full name."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
LimitOption = Annotated[int, typer.Option(min=0, max=LARGEST, help="List at most so many; 0 for all.")]


def connect(project: str | None = None) -> "Client":
    """A client whose short names are looked up in `project`."""
    # The library's own words about a server that restarts would break into what a watch shows.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from bloomery import Client

    return Client(project=project)
