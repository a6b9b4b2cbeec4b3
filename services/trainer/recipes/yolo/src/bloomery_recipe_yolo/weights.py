"""Where training starts from: a file, a name, or nothing."""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bloomery_worker.blobs import digest_of
from bloomery_worker.context import Context
from bloomery_worker.failures import ConfigError
from bloomery_worker.layout import place

SCRATCH = "scratch"
DOWNLOAD_SECONDS = 60.0
LICENSE = "AGPL-3.0-only"
"""Of all weights that are known by name."""

_FETCH = "import sys; from ultralytics.utils.downloads import attempt_download_asset as get; get(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class Base:
    """What training starts from.

    Attributes:
        model: path of the weights, or name of an architecture (`yolov8n.yaml`) for a start from random weights.
        name: as given, such as "yolov8n.pt", or "scratch".
        digest: of the weights; empty from scratch.
    """

    model: str
    name: str
    digest: str = ""

    def record(self) -> dict[str, object]:
        """For the result's details."""
        return {"name": self.name, "digest": self.digest, "license": LICENSE if self.digest else ""}


def find_base(context: Context) -> Base:
    """The base that the job names: its file, else a name in BLOOMERY_WEIGHTS, else the library's download.

    Raises:
        ConfigError: a name cannot be had, or BLOOMERY_WEIGHTS is ambiguous.
    """
    job = context.job
    if job.base_file:
        return Base(job.base_file, job.base or Path(job.base_file).name, job.base_digest)
    name = job.base or job.bases[0]
    if name == SCRATCH:
        return Base(_architecture(job.bases[0]), SCRATCH)
    return named_base(context, name)


def named_base(context: Context, name: str) -> Base:
    """The base of a name, as `find_base` finds it. Raises ConfigError."""
    job = context.job
    found = _in_folder(name) or _downloaded(name, Path(job.cache_dir) / "weights", context)
    if found is None:
        raise ConfigError(
            f"no base weights: {name} is neither in the folder of BLOOMERY_WEIGHTS nor could it be downloaded",
            hint="start the server with BLOOMERY_WEIGHTS naming a folder that has it, choose another base, or choose"
            f" the base {SCRATCH}: random weights, which need many more images and epochs",
        )
    context.log.info("starting from the weights %s", found.name)
    # Under a name of the job's own they stay, whatever becomes of the folder or the cache.
    return Base(str(place(found, context.work_dir / "base" / name)), name, digest_of(found))


def _architecture(name: str) -> str:
    return f"{Path(name).stem}.yaml"


def _in_folder(name: str) -> Path | None:
    folder = os.environ.get("BLOOMERY_WEIGHTS")
    if not folder:
        return None
    exact = Path(folder).resolve() / name
    if exact.is_file():
        return exact
    similar = sorted(exact.parent.glob(f"{exact.stem}*.pt"))
    if len(similar) > 1:
        listed = ", ".join(path.name for path in similar)
        raise ConfigError(f"several files in BLOOMERY_WEIGHTS could be {name}: {listed}", hint=f"rename one to {name}")
    return similar[0] if similar else None


def _downloaded(name: str, folder: Path, context: Context) -> Path | None:
    """The library's own download, in a process that can be given up."""
    target = folder / name
    if target.is_file():
        os.utime(target)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    context.log.info("downloading the base weights %s", name)
    environment = {key: value for key, value in os.environ.items() if key != "YOLO_OFFLINE"}
    command = [sys.executable, "-P", "-c", _FETCH, name]
    with tempfile.TemporaryDirectory(dir=folder) as part:
        try:
            subprocess.run(
                command, cwd=part, env=environment, timeout=DOWNLOAD_SECONDS, capture_output=True, check=True
            )
            return (Path(part) / name).replace(target)
        except (subprocess.SubprocessError, FileNotFoundError):
            return None
