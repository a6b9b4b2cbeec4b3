"""The command line: `bloomery`.

One module a noun, and one for each verb that stands alone, imported when its command is run. Exit codes:

    0    done
    1    the work failed: a job, an import or a build ended FAILED or CANCELLED, annotations have errors, or an image
         could not be predicted on
    2    the command line is wrong
    3    something that was named does not exist, or no project was
    4    the request is wrong, or a state forbids it
    5    the server or the object store cannot be reached
    6    the token is missing or does not allow it
    130  interrupted; work that runs on the server goes on

Other distributions add commands by an entry point of the group `bloomery.commands`: its name is the command's, its
object a function as typer takes it. Such a command is imported when it is run; until then the distribution's summary
speaks for it.
"""

from typing import Annotated

import typer

from bloomery.cli._group import Group

__all__ = ["app"]

_EXIT_CODES = (
    "Exit codes: 0 done · 1 the work failed · 2 wrong command line · 3 not found · 4 refused · 5 no server · "
    "6 not allowed · 130 interrupted."
)

app = typer.Typer(
    cls=Group,
    name="bloomery",
    help="From labelled images to a model that answers predictions.",
    epilog=f"{_EXIT_CODES} The server is found in the data folder (BLOOMERY_DATA) or named by BLOOMERY_ENDPOINT and "
    "BLOOMERY_TOKEN. Example: bloomery project create cells",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import metadata

        typer.echo(f"bloomery {metadata('bloomery')['Version']}")
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")] = False,
) -> None:
    """From labelled images to a model that answers predictions."""
