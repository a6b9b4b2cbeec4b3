"""bloomery augment: show, preview."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import dump, fields, grid

if TYPE_CHECKING:
    from bloomery_augment.policy import Policy
    from bloomery_augment.rules import Change

app = typer.Typer(
    help="Augmentation policies: which random changes training images get. Needs the extra bloomery[augment].",
    no_args_is_help=True,
)
PolicyArgument = Annotated[
    str, typer.Argument(metavar="POLICY", help="Such as low_contrast,lighting=poor,intensity=high; or a YAML file.")
]


@app.command(
    "show", epilog="Example: bloomery augment show low_contrast,moves_or_vibrates,lighting=poor,intensity=high"
)
def show_(policy: PolicyArgument, output: OutputOption = Output.table) -> None:
    """Explain a policy: which transforms follow from it, with which ranges, how likely, and why."""
    found = _read(policy)
    from bloomery_augment.kinds import KINDS
    from bloomery_augment.rules import changes, effective

    if output is not Output.table:
        dump(effective(found), output)
        return
    made = changes(found)
    fields(
        {"parameter": f"--set augment={found}", "changes": f"{sum(one.likely for one in made):.1f} an image on average"}
    )
    rows = [
        (one.transform, KINDS[one.transform].does, f"{one.likely:.0%}", _ranges(one), _reasons(one)) for one in made
    ]
    grid(("TRANSFORM", "WHAT IT DOES", "LIKELY", "RANGES", "WHY"), rows)


@app.command("preview", epilog="Example: bloomery augment preview low_contrast,lighting=poor cells-v@1 --save ./seen")
def preview(
    policy: PolicyArgument,
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    save: Annotated[Path, typer.Option(help="Folder to write to: one picture for each image.")],
    split: Annotated[str, typer.Option(help="Whose images.")] = "train",
    images: Annotated[int, typer.Option(min=1, max=100, help="How many images, at most.")] = 4,
    variants: Annotated[int, typer.Option(min=1, max=20, help="Changed copies of each.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the changes.")] = 0,
    project: ProjectOption = None,
) -> None:
    """Write what a policy makes of the first images of a dataset version: each beside changed copies, shapes drawn."""
    given = str(_read(policy))
    with connect(project) as client:
        found = client.dataset_version(version)
        sheets = found.preview_augmentation(given, split=split, images=images, variants=variants, seed=seed)
    save.mkdir(parents=True, exist_ok=True)
    for number, sheet in enumerate(sheets, 1):
        target = save / f"{number:02d}-{Path(sheet.file_name).stem}.jpg"
        sheet.picture.save(target, quality=90)
        typer.echo(target)
    if not sheets:
        typer.echo(f"no image is in the split {split}", err=True)


def _read(policy: str) -> "Policy":
    """A policy, or that of a file where there is one of that name."""
    from bloomery.augmentation import parse

    path = Path(policy)
    is_file = len(policy) < 255 and "\n" not in policy and path.is_file()
    return parse(path if is_file else policy)


def _ranges(change: "Change") -> str:
    from bloomery_augment.kinds import KINDS

    units = KINDS[change.transform].units
    shown = (f"{name} {low:g} to {high:g} {units[name]}".strip() for name, (low, high) in change.ranges.items())
    return "\n".join(shown)


def _reasons(change: "Change") -> str:
    return "\n".join(f"{part}: {why}" for part, why in change.why.items())
