"""Which recipes there are: those that are installed beside the worker. None of their code runs here.

The worker's environment is asked, or was asked when its image was made: `python -m bloomery_worker.catalogue >FILE`.
"""

import asyncio
import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from bloomery_trainer.launcher.environment import inherited
from bloomery_trainer.recipes import CatalogueError
from bloomery_trainer.settings import ProcessLauncherSettings, TrainerSettings

_MODULE = "bloomery_worker.catalogue"
_SECONDS = 10.0
_TEXTS: TypeAdapter[Mapping[str, str]] = TypeAdapter(dict[str, str])
_log = logging.getLogger("bloomery.trainer")


async def recipe_texts(settings: TrainerSettings) -> Mapping[str, str]:
    """The text of every installed `recipe.yaml`, by what people call it. Raise CatalogueError for a file that is none.

    An environment that cannot be asked has none: jobs will say what is wrong with it.
    """
    if settings.catalogue is not None:
        return await asyncio.to_thread(_written, settings.catalogue)
    assert isinstance(settings.launcher, ProcessLauncherSettings)
    python = settings.launcher.worker_python
    try:
        return await asyncio.to_thread(_asked, python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.warning("the worker's environment does not tell its recipes", extra={"python": python, "error": error})
        return {}


def _written(path: Path) -> Mapping[str, str]:
    try:
        return _TEXTS.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CatalogueError(f"{path} is no catalogue, as `python -m {_MODULE}` prints it: {error}") from error


def _asked(python: Path) -> Mapping[str, str]:
    command = [str(python), "-P", "-m", _MODULE]
    done = subprocess.run(command, env=inherited(os.environ), capture_output=True, check=True, timeout=_SECONDS)
    return _TEXTS.validate_json(done.stdout)
