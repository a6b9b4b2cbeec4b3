"""bloomery models better."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery._names import short
from bloomery.cli._options import Output, OutputOption, ProjectOption, VersionArgument, connect
from bloomery.cli._output import as_json, dump, grid
from bloomery.cli._progress import steps
from bloomery.cli.evaluate import GpusOption, OnOption, Split, VariantOption

if TYPE_CHECKING:
    from bloomery import MetricDifference, Verdict

EXAMPLE = "Example: bloomery models better cells-v@1 cells-v@2 --on cells-v@2"


def run(
    version: VersionArgument,
    other: Annotated[str, typer.Argument(metavar="OTHER[@VERSION]", help="The version to measure it against.")],
    on: OnOption,
    split: Annotated[Split, typer.Option(help="Whose images; what a model was trained on flatters it.")] = Split.test,
    variant: VariantOption = "",
    other_variant: Annotated[
        str, typer.Option("--other-variant", metavar="FORM", help="The same of the other version.")
    ] = "",
    gpus: GpusOption = 0,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Tell which of two versions is better on the same images, or that they cannot be told apart.

    Evaluates those that were not evaluated on them yet, and waits; Ctrl-C leaves the jobs running.
    """
    with connect(project) as client, steps() as tell:
        first, second = client.model_version(version), client.model_version(other)
        verdict = first.better(
            second,
            on,
            split=split.value,
            variant=variant,
            other_variant=other_variant,
            gpus=gpus,
            progress=tell,
        )
    show_verdict(verdict, output)


def show_verdict(verdict: "Verdict", output: Output) -> None:
    """Write which version is better, and why."""
    if output is not Output.table:
        dump({**as_json(verdict.proto), "answer": verdict.answer, "better": verdict.better}, output)
        return
    said = verdict.proto
    first = short(said.model_variant or said.model_version)
    other = short(said.other_model_variant or said.other_model_version)
    grid(
        ("METRIC", first, other, "DIFFERENCE", "95 % INTERVAL", "BETTER"),
        [
            (
                one.metric,
                one.value,
                one.other,
                f"{one.difference:+.4g}",
                f"{one.lower:+.4g} to {one.upper:+.4g}",
                {"first": first, "other": other}.get(one.answer, one.answer),
            )
            for one in verdict.differences
        ],
    )
    typer.echo(f"{_told(verdict, verdict.differences[0])} (by {verdict.differences[0].metric})")


def _told(verdict: "Verdict", one: "MetricDifference") -> str:
    images = verdict.proto.image_count
    groups = verdict.proto.cluster_count
    told = f"{images} images" if groups == images else f"{images} images in {groups} groups"
    if verdict.better:
        return f"{short(verdict.better)} is better with {told}"
    needed = f"; about {one.needed:,} would be needed" if one.needed else ", whose figures are the same"
    return f"not distinguishable with {told}{needed}"
