"""bloomery quota: show, set."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import dump, grid

if TYPE_CHECKING:
    from bloomery import Quota, Share

app = typer.Typer(help="Quotas: what a project may take.", no_args_is_help=True)

_WORDS = "A number, `none` for no limit, or `default` for what the installation gives to every project."
_UNITS = {"KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


@app.command("show", epilog="Example: bloomery quota show --project cells")
def show_(project: ProjectOption = None, output: OutputOption = Output.table) -> None:
    """Show the limits of a project, and what it has taken."""
    with connect(project) as client:
        _write(client.project().quota(), output)


@app.command("set", epilog="Example: bloomery quota set --project cells --bytes 50GiB --running-jobs 2")
def set_(
    bytes_: Annotated[
        str | None, typer.Option("--bytes", metavar="LIMIT", help=f"Of its files, such as 50GiB. {_WORDS}")
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="LIMIT", help=f"Images. {_WORDS}")] = None,
    running_jobs: Annotated[
        str | None, typer.Option(metavar="LIMIT", help=f"Jobs at work at the same time. {_WORDS}")
    ] = None,
    gpus: Annotated[str | None, typer.Option(metavar="LIMIT", help=f"GPUs of these jobs together. {_WORDS}")] = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Set limits of a project, as an admin of the installation; those that are not given stay."""
    limits = {
        "bytes": _limit(bytes_, "--bytes"),
        "images": _limit(images, "--images"),
        "running_jobs": _limit(running_jobs, "--running-jobs"),
        "gpus": _limit(gpus, "--gpus"),
    }
    if not any(limit is not None for limit in limits.values()):
        raise typer.BadParameter("give at least one of --bytes, --images, --running-jobs, --gpus")
    with connect(project) as client:
        _write(client.project().set_quota(**limits), output)


def _limit(text: str | None, option: str) -> int | str | None:
    if text is None or text in ("none", "default"):
        return text
    number, shift = text, 0
    for unit, bits in _UNITS.items():
        if option == "--bytes" and text.endswith(unit):
            number, shift = text.removesuffix(unit).strip(), bits
    if not (number.isascii() and number.isdigit()):
        raise typer.BadParameter(f"{text!r} is neither a number, nor none, nor default", param_hint=option)
    return int(number) << shift


def _write(quota: "Quota", output: Output) -> None:
    shares = {
        "bytes": quota.bytes,
        "images": quota.images,
        "running jobs": quota.running_jobs,
        "gpus": quota.gpus,
    }
    if output is not Output.table:
        dump({name.replace(" ", "_"): _plain(share) for name, share in shares.items()}, output)
        return
    own = {field.name for field, _ in quota.proto.ListFields()}
    rows = [
        (name, share.used, "none" if share.limit is None else share.limit, _of(share, name.replace(" ", "_") in own))
        for name, share in shares.items()
    ]
    grid(("", "USED", "LIMIT", "SET FOR"), rows)


def _of(share: "Share", own: bool) -> str:
    if own:
        return "this project"
    return "" if share.limit is None else "every project"


def _plain(share: "Share") -> dict[str, int | None]:
    return {"used": share.used, "limit": share.limit}
