"""`bloomery up`: the command that this distribution adds to the command line."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from bloomery_server.folder import AddressInUseError, DamagedFolderError, DataFolder, FolderInUseError

DEFAULT_FOLDER = Path("~/.local/share/bloomery")
_CANNOT_START = 1
_WRONG_SETTING = 4
_IN_USE = 5


def up(
    data: Annotated[
        Path | None, typer.Option(help="Data folder; BLOOMERY_DATA or ~/.local/share/bloomery by default.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port for clients; kept between starts, any free one by default."),
    ] = None,
    stop_jobs: Annotated[bool, typer.Option(help="Stop running jobs with the server; by default they go on.")] = False,
    triton: Annotated[
        Path | None,
        typer.Option(help="Path of tritonserver, which then runs beside and serves `--runtime triton`."),
    ] = None,
) -> None:
    """Run Bloomery on this machine until Ctrl-C.

    Jobs outlive the server: the next `bloomery up` on the same folder finds them again.

    Example: bloomery up --data ./my-data
    """
    # Imported here, as below, so that `bloomery --help` stays quick.
    from bloomery_kit.errors import BloomeryError

    started = time.monotonic()
    _check_weights(os.environ.get("BLOOMERY_WEIGHTS"))
    program = _program(triton)
    root = (data or Path(os.environ.get("BLOOMERY_DATA") or DEFAULT_FOLDER)).expanduser().absolute()
    if root.exists() and not root.is_dir():
        typer.echo(f"{root} is a file\nhint: give a folder to --data; it is made where it does not exist", err=True)
        raise typer.Exit(_WRONG_SETTING)
    try:
        folder = DataFolder.open(root)
    except FolderInUseError as error:
        typer.echo(f"another server already runs on {root}\nhint: use it, stop it, or choose --data DIR", err=True)
        raise typer.Exit(_IN_USE) from error
    except OSError as error:
        raise _cannot_start(root, error) from error
    try:
        asyncio.run(_serve(folder, port=port or 0, stop_jobs=stop_jobs, triton=program, started=started))
    except AddressInUseError as error:
        typer.echo(f"{error}\nhint: stop what listens there, or choose another --port", err=True)
        raise typer.Exit(_IN_USE) from error
    except DamagedFolderError as error:
        typer.echo(f"{error}\nhint: restore it from a backup, or remove it: clients then get a new token", err=True)
        raise typer.Exit(_CANNOT_START) from error
    except (BloomeryError, OSError) as error:
        raise _cannot_start(root, error, "; server.log there says more") from error
    finally:
        folder.close()
    typer.echo("Bloomery has stopped.")


def _cannot_start(root: Path, error: Exception, more: str = "") -> typer.Exit:
    from bloomery_kit.disks import is_full

    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    full = is_full(error) or getattr(error, "reason", "") == "DISK_FULL"
    hint = "free some space; what lies in cache/ there is not needed while no job runs" if full else "mend that"
    typer.echo(f"{root}: {words}\nhint: {hint}, and start again{more}", err=True)
    return typer.Exit(_CANNOT_START)


def _check_weights(folder: str | None) -> None:
    """Say before anything starts that trainings would look for base weights in vain."""
    if folder and not Path(folder).is_dir():
        typer.echo(f"BLOOMERY_WEIGHTS names {folder}, which is no folder\nhint: correct it, or unset it", err=True)
        raise typer.Exit(_WRONG_SETTING)


def _program(path: Path | None) -> Path | None:
    """The Triton server's program; say before anything starts that it is none."""
    if path and not (path.is_file() and os.access(path, os.X_OK)):
        typer.echo(f"--triton names {path}, which is no program\nhint: give the path of tritonserver", err=True)
        raise typer.Exit(_WRONG_SETTING)
    return path and path.absolute()


async def _serve(folder: DataFolder, *, port: int, stop_jobs: bool, triton: Path | None, started: float) -> None:
    # Imported here, so that `bloomery --help` stays quick.
    from bloomery_kit import tracing
    from bloomery_kit.logging import setup_logging
    from bloomery_kit.server import run_until_signal
    from bloomery_kit.settings import ProcessSettings, load_settings
    from bloomery_server.embedded import EmbeddedServer

    def say_ready() -> None:
        typer.echo(f"Bloomery is ready after {time.monotonic() - started:.1f} s. Data folder: {folder.root}")
        typer.echo("Next, in another terminal: bloomery project create my-project")
        typer.echo("Ctrl-C stops the server; running jobs go on.")

    def say_trouble(trouble: str) -> None:
        typer.echo(f"{trouble}; it is started again until it stays", err=True)

    with (folder.root / "server.log").open("a", buffering=1) as log:
        setup_logging(stream=log)
        tracing.start(load_settings(ProcessSettings).tracing, "bloomery")
        server = EmbeddedServer(
            folder,
            folder.identity(port=port),
            stop_jobs=stop_jobs,
            on_ready=say_ready,
            on_trouble=say_trouble,
            triton=triton,
        )
        await run_until_signal(server, on_stop=server.close)
