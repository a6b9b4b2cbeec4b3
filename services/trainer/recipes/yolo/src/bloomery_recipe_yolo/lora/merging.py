"""A base and an adapter made one model again, as the training has published it."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from bloomery_recipe_yolo.library import ClassificationModel, DetectionModel, SegmentationModel
from bloomery_recipe_yolo.lora import injecting
from bloomery_recipe_yolo.lora.adapter import FILE, Origin, read
from bloomery_recipe_yolo.model import read_checkpoint
from bloomery_recipe_yolo.weights import named_base
from bloomery_worker.blobs import digest_of
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError

SUFFIXES = frozenset({".safetensors", ".zip"})
"""Of files that hold an adapter."""
_BASE = "base.pt"
_CLASSES: dict[str, Any] = {"detect": DetectionModel, "segment": SegmentationModel, "classify": ClassificationModel}


def found(context: Context, file: Path) -> tuple[Path, Path]:
    """An adapter's file and its base's: both out of a zip file, or the base by the name that the adapter says.

    Raises:
        ConfigError: a file is missing, or the base cannot be had.
    """
    if file.suffix == ".zip":
        return _unpacked(file, context.work_dir / "adapter")
    _, origin = read(file)
    return file, Path(named_base(context, origin.base).model)


def _unpacked(file: Path, folder: Path) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    try:
        with zipfile.ZipFile(file) as archive:
            for name in (FILE, _BASE):
                entry = archive.getinfo(name)
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ConfigError(f"{name} is compressed", hint="pack both files without compression")
                with archive.open(entry) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, KeyError) as problem:
        message = f"the file is no adapter with its base: {problem}"
        raise ConfigError(message, hint=f"pack {FILE} and the base weights as {_BASE}") from problem
    return folder / FILE, folder / _BASE


def merged(adapter_file: Path, base_file: Path) -> tuple[Any, Origin]:
    """The model in float32, and what the adapter says of it.

    Raises:
        ConfigError: a file is no such, or the base is another one than the adapter was trained on.
    """
    adapter, origin = read(adapter_file)
    if (found := digest_of(base_file)) != origin.base_digest:
        message = f"the adapter is of another base: {origin.base} with {origin.base_digest}, not {found}"
        raise ConfigError(message, hint="give the file of the base that it names")
    base, _ = read_checkpoint(base_file)
    if base.task != origin.task:
        raise ConfigError(f"the base is a model to {base.task}, the adapter one to {origin.task}", hint="give its base")
    with torch.random.fork_rng():
        model = _for_classes(base, origin)
    adapter.on(model)
    injecting.merge(model)
    model.args = dict(origin.arguments)
    model.names = dict(enumerate(origin.classes))
    return model, origin


def _for_classes(base: Any, origin: Origin) -> Any:
    """A model of the base's architecture that knows what the base knows, as the library begins a training."""
    model = _CLASSES[origin.task](base.yaml, ch=base.yaml.get("channels", 3), nc=len(origin.classes), verbose=False)
    model.load(base, verbose=False)
    return model.float().eval()
