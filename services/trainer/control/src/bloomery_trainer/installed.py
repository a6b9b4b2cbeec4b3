"""The recipes of other packages, as the worker's own environment knows them; none of their code runs here."""

import asyncio
import json
import logging
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bloomery_trainer.launcher.process import INHERITED

_MODULE = "bloomery_worker.catalogue"
_SECONDS = 10.0
_log = logging.getLogger("bloomery.trainer")


async def installed_recipes(python: Path) -> Mapping[str, str]:
    """The texts of the `recipe.yaml` files that are installed beside the worker, by what people call them.

    An environment that cannot be asked has none: jobs will say what is wrong with it.
    """
    try:
        found: Mapping[str, str] = await asyncio.to_thread(_asked, python)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.warning("the worker's environment does not tell its recipes", extra={"python": python, "error": error})
        return {}
    return found


def _asked(python: Path) -> Mapping[str, str]:
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [str(python), "-P", "-m", _MODULE]
    done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=_SECONDS)
    found: Mapping[str, str] = json.loads(done.stdout)
    return found
