"""Where training starts from: a model version, a name, or nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from transformers import AutoModelForObjectDetection

from bloomery_recipe_detr import networks, published
from bloomery_recipe_detr.networks import Detector
from bloomery_worker.bases import SCRATCH, Base, in_folder, no_base
from bloomery_worker.blobs import digest_of
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.layout import place

LICENSE = "Apache-2.0"
"""Of all weights that are known by name."""
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
DOWNLOAD_SECONDS = 300.0
HUB: Mapping[str, str] = {
    "rtdetr_r18vd": "PekingU/rtdetr_r18vd",
    "rtdetr_r34vd": "PekingU/rtdetr_r34vd",
    "rtdetr_r50vd": "PekingU/rtdetr_r50vd",
    "rtdetr_v2_r18vd": "PekingU/rtdetr_v2_r18vd",
    "dfine-nano-coco": "ustc-community/dfine-nano-coco",
    "dfine-small-coco": "ustc-community/dfine-small-coco",
}
"""What transformers downloads weights as."""

_FETCH = (
    "import sys; from transformers import AutoModelForObjectDetection as Model; "
    "Model.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])"
)


def find_base(context: Context) -> Base:
    """The base that the job names: its file, else a folder of BLOOMERY_WEIGHTS, else transformers' own download.

    Raises:
        ConfigError: a name cannot be had, or BLOOMERY_WEIGHTS is ambiguous.
    """
    job = context.job
    if job.base_file:
        file = Path(job.base_file)
        return Base(file, job.base or file.name, job.base_digest)
    name = job.base or job.bases[0]
    if name == SCRATCH:
        return Base(None, SCRATCH)
    short = HUB.get(name, name).rpartition("/")[2]
    patterns = [f"{one}/{WEIGHTS}" for one in dict.fromkeys((name, short))]
    found = in_folder(patterns, name) or _downloaded(name, Path(job.cache_dir) / "weights", context)
    if found is None:
        raise no_base(name)
    context.log.info("starting from the weights in %s", found.parent.name)
    # Under a name of the job's own they stay, whatever becomes of the folder or the cache.
    own = context.work_dir / "base" / name
    if (found.parent / CONFIG).is_file():
        place(found.parent / CONFIG, own / CONFIG)
    return Base(place(found, own / WEIGHTS), name, digest_of(found), LICENSE)


def network(context: Context, base: Base, size: str, side: int) -> Detector:
    """A network for the job's classes and images of a side, with the base's weights.

    Heads for other classes stay random.

    Raises:
        ConfigError: the base is none of this recipe.
    """
    if base.file is None:
        return networks.build(networks.fitted(networks.random_config(size), context.job.classes, side))
    if context.job.base_file:
        return _from_version(context, base.file, side)
    return _from_folder(context, base.file.parent, side)


def _from_version(context: Context, file: Path, side: int) -> Detector:
    about = published.read_about(file)
    made = networks.build(networks.fitted(networks.read_config(about.config), context.job.classes, side))
    given, wanted = published.read_weights(file), made.state_dict()
    fitting = {name: value for name, value in given.items() if name in wanted and value.shape == wanted[name].shape}
    made.load_state_dict(fitting, strict=False)
    if len(fitting) < len(wanted):
        context.log.info("the heads are new: the base weights are of other classes")
    return made


def _from_folder(context: Context, folder: Path, side: int) -> Detector:
    try:
        content = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as problem:
        hint = f"put the {CONFIG} of the weights beside their {WEIGHTS}"
        raise ConfigError(f"the base weights have no {CONFIG} that can be read", hint=hint) from problem
    config = networks.fitted(networks.read_config(content), context.job.classes, side)
    try:
        body = AutoModelForObjectDetection.from_pretrained(
            folder, config=config, ignore_mismatched_sizes=True, local_files_only=True
        )
    except MemoryError:
        raise
    except Exception as problem:  # broken files make the library raise all kinds
        line = str(problem).strip().partition("\n")[0].replace(str(folder), "the folder")[:300]
        hint = "give the folder as transformers' save_pretrained writes it"
        raise ConfigError(f"the base weights cannot be read: {line}", hint=hint) from problem
    context.log.info("heads of other shapes than those of the base weights are new")
    return Detector(body)


def _downloaded(name: str, folder: Path, context: Context) -> Path | None:
    """The library's own download, in a process that can be given up."""
    target = folder / name / WEIGHTS
    if target.is_file():
        target.touch()
        return target
    if name not in HUB:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    context.log.info("downloading the base weights %s", name)
    part = folder / f".{name}.{os.getpid()}"
    command = [sys.executable, "-P", "-c", _FETCH, HUB[name], str(part)]
    try:
        subprocess.run(command, timeout=DOWNLOAD_SECONDS, capture_output=True, check=True)
        return part.rename(folder / name) / WEIGHTS
    except (subprocess.SubprocessError, OSError):
        return target if target.is_file() else None
