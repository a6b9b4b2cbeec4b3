"""bloomery train."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bloomery.cli import _config
from bloomery.cli._estimate import show_estimate
from bloomery.cli._making import show_making
from bloomery.cli._options import LARGEST, Output, OutputOption, ProjectOption, connect
from bloomery.cli._pairs import lists, pairs, seconds, size, values
from bloomery.cli._searching import search
from bloomery.cli.groups import show_search

EXAMPLE = "Example: bloomery train cells-v@1 --recipe yolo-detect --set epochs=5 --set imgsz=320 --follow"


def run(
    version: Annotated[str, typer.Argument(metavar="DATASET[@VERSION]", help="The newest version by default.")],
    recipe: Annotated[
        str, typer.Option(help="Id; `bloomery recipes list` has all. Needed unless --config has it.")
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file to start from, as `bloomery recipes template` writes it; other options go before."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Parameter of the recipe; may be repeated.")
    ] = None,
    model: Annotated[str, typer.Option(help="Model to publish under; the one with the dataset's id by default.")] = "",
    base: Annotated[
        str,
        typer.Option(
            help="Weights to start from: as the recipe names them, scratch, MODEL@VERSION, jobs/JOB/checkpoints/EPOCH."
        ),
    ] = "",
    name: Annotated[str, typer.Option(help="Id of the job; made by the server by default.")] = "",
    priority: Annotated[int, typer.Option(min=-LARGEST, max=LARGEST, help="Larger goes first.")] = 0,
    deadline: Annotated[
        float | None,
        typer.Option(
            parser=seconds, metavar="DURATION", help="Time it may take in all, such as 2h or 90m; no limit by default."
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="For filtering lists of jobs; may be repeated.")
    ] = None,
    group: Annotated[str, typer.Option(help="Id of the group that it belongs to; see `bloomery groups`.")] = "",
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...", help="Start a job for each value, in a --group; several make all combinations."
        ),
    ] = None,
    search_: Annotated[
        int | None,
        typer.Option(
            "--search",
            metavar="N",
            min=1,
            max=10_000,
            help="Start so many random trials, in a --group, of --set KEY=log:1e-4..1e-2, KEY=1..5 or KEY=A|B.",
        ),
    ] = None,
    halving: Annotated[
        bool, typer.Option("--halving", help="Of a --search: short trials first, the better third goes on; waits.")
    ] = False,
    search_seed: Annotated[int, typer.Option(help="Of a --search: the same seed tries the same.")] = 0,
    cpus: Annotated[float, typer.Option(min=0, help="Processor cores; 0 for the recipe's default.")] = 0,
    memory: Annotated[
        int | None, typer.Option(parser=size, metavar="SIZE", help="Such as 4GiB; the recipe's default otherwise.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, max=LARGEST, help="How many; 0 for the recipe's default.")] = 0,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what it would take, from earlier trainings; start nothing.")
    ] = False,
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Watch to the end and show what it made; Ctrl-C only detaches.")
    ] = False,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Train a model on a dataset version. The job goes on by itself; --follow watches it."""
    given = _config.read(config) if config else _config.Config()
    settings = given.parameters | values(set_ or [], "--set")
    if not (recipe or given.recipe):
        raise typer.BadParameter("is needed, here or in the file of --config", param_hint="--recipe")
    if grid and (name or not group):
        raise typer.BadParameter("needs a --group, and makes several jobs, so that no --name fits", param_hint="--grid")
    if search_ and (name or grid or not group):
        raise typer.BadParameter("needs a --group, and goes with neither --name nor --grid", param_hint="--search")
    if halving and not search_:
        raise typer.BadParameter("needs --search N: the trials of the first round", param_hint="--halving")
    common: dict[str, Any] = {
        "model": model or given.model,
        "base": base or given.base,
        "priority": priority,
        "deadline": deadline or 0,
        "labels": pairs(label or [], "--label"),
        "group": group,
        "cpus": cpus,
        "memory": memory or 0,
        "gpus": gpus,
        "settings": settings,
    }
    with connect(project) as client:
        found = client.dataset_version(version)
        if estimate:
            told = {key: common[key] for key in ("base", "cpus", "memory", "gpus", "settings")}
            show_estimate(found.estimate(recipe or given.recipe, **told), output)
        elif search_:
            made = search(found, recipe or given.recipe, search_, common, seed=search_seed, halving=halving)
            show_search(made, output, follow=follow_)
        elif grid:
            show_search(
                found.train_grid(recipe or given.recipe, lists(grid, "--grid"), **common), output, follow=follow_
            )
        else:
            show_making(found.train(recipe or given.recipe, name=name, **common), output, follow=follow_)
