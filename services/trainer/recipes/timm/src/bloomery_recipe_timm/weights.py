"""Where training starts from: a file, a name, or nothing."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import timm
from torch import Tensor

from bloomery_recipe_timm import networks, published
from bloomery_worker.bases import SCRATCH, Base, in_folder, no_base
from bloomery_worker.blobs import digest_of
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.layout import place

LICENSE = "Apache-2.0"
"""Of all weights that are known by name."""
DOWNLOAD_SECONDS = 120.0

_FETCH = (
    "import sys, timm; from safetensors.torch import save_file; "
    "save_file(timm.create_model(sys.argv[1], pretrained=True).state_dict(), sys.argv[2])"
)
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def find_base(context: Context) -> Base:
    """The base that the job names: its file, else a name in BLOOMERY_WEIGHTS, else timm's own download.

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
    found = in_folder(_patterns(name), name) or _downloaded(name, Path(job.cache_dir) / "weights", context)
    if found is None:
        raise no_base(name)
    context.log.info("starting from the weights %s", found.name)
    # Under a name of the job's own they stay, whatever becomes of the folder or the cache.
    return Base(place(found, context.work_dir / "base" / found.name), name, digest_of(found), LICENSE)


def architecture(base: Base, given: str, default: str) -> str:
    """The network of a base, as timm names it: what its file says, else what was given, else by its name.

    Raises:
        ConfigError: it is not known, or is another one than was given.
    """
    about = published.read_about(base.file) if base.file else None
    named = base.name.partition(".")[0].partition("-")[0]
    found = about.architecture if about else named if timm.is_model(named) else given or default
    if given and given != found:
        raise ConfigError(f"network: the base weights are of {found}, not of {given}", hint="leave it out")
    if not given and base.file and not about and found != named:
        hint = "give the parameter network"
        raise ConfigError(f"the base weights {base.name} do not say of which network they are", hint=hint)
    return found


def take(network: networks.Classifier, base: Base, context: Context) -> None:
    """Puts a base's weights into a network; a head for other classes stays random.

    Raises:
        ConfigError: they are of another network.
    """
    if base.file is None:
        return
    given = _ours(published.read_weights(base.file))
    wanted = network.state_dict()
    fitting = {name: value for name, value in given.items() if name in wanted and value.shape == wanted[name].shape}
    missing = sorted(set(wanted) - set(fitting))
    head = {name for name, layer in networks.layers(network).items() if layer == max(networks.layers(network).values())}
    if odd := [name for name in missing if name not in head]:
        message = f"the base weights are of another network: {len(odd)} of its {len(wanted)} tensors are missing"
        raise ConfigError(message, hint="choose another base, or the network that they are of")
    network.load_state_dict(fitting, strict=False)
    if missing:
        context.log.info("the head is new: the base weights are of other classes")


def _ours(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of a `Classifier`."""
    return {name if name.startswith("body.") else f"body.{name}": value for name, value in weights.items()}


def _patterns(name: str) -> list[str]:
    """Files that may hold weights of a name such as "resnet18.a1_in1k", the surest first."""
    short = name.partition(".")[0]
    exact = [f"{one}{suffix}" for one in (name, short) for suffix in _SUFFIXES]
    folders = [f"{one}/model.safetensors" for one in (name, short)]
    return [name, *exact, *folders, *(f"{short}[.-]*{suffix}" for suffix in _SUFFIXES)]


def _downloaded(name: str, folder: Path, context: Context) -> Path | None:
    """The library's own download, in a process that can be given up."""
    target = folder / f"{name}.safetensors"
    if target.is_file():
        target.touch()
        return target
    folder.mkdir(parents=True, exist_ok=True)
    context.log.info("downloading the base weights %s", name)
    # Of this process alone: workers of a machine share the folder.
    part = folder / f".{name}.{os.getpid()}"
    command = [sys.executable, "-P", "-c", _FETCH, name, str(part)]
    try:
        subprocess.run(command, timeout=DOWNLOAD_SECONDS, capture_output=True, check=True)
        return part.replace(target)
    except (subprocess.SubprocessError, OSError):
        part.unlink(missing_ok=True)
        return target if target.is_file() else None
