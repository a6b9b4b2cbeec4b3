"""Keeps Ultralytics inside the job's folder and off the network. Call `prepare` before anything imports it."""

import logging
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

_OFF = ("sync", "mlflow", "clearml", "comet", "dvc", "raytune", "tensorboard", "wandb", "neptune", "hub")


def prepare(work_dir: Path, cache_dir: Path) -> None:
    """Sets what the library reads from the environment when it is imported, its settings file and its log.

    Settings are the job's own, in `work_dir`; what is only expensive to make lies in `cache_dir`.
    """
    config = work_dir / "ultralytics"
    os.environ.update(
        YOLO_CONFIG_DIR=str(config),
        MPLCONFIGDIR=str(cache_dir / "matplotlib"),
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        # A checkpoint is a pickle: only known types are loaded from it.
        ULTRALYTICS_SAFE_LOAD="1",
        NO_ALBUMENTATIONS_UPDATE="1",
    )
    _place_fonts(config / "Ultralytics")

    opened = Image.open
    from ultralytics.utils import LOGGER, SETTINGS

    # It puts a function in its place that looks for a plugin to install wherever a file is no image.
    Image.open = opened

    # Some of them upload by themselves as soon as their package is installed.
    SETTINGS.update({name: False for name in _OFF if name in SETTINGS})  # type: ignore[no-untyped-call]
    # Its warnings belong into the job's log, which the root logger feeds.
    LOGGER.handlers.clear()
    LOGGER.setLevel(logging.WARNING)
    LOGGER.propagate = True


def _place_fonts(folder: Path) -> None:
    """The library fetches a font for every dataset, plots or none, unless one of that name is here."""
    folder.mkdir(parents=True, exist_ok=True)
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        return
    font = Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        if font.exists() and not (folder / name).exists():
            shutil.copyfile(font, folder / name)
