"""What the work ran on, and with which versions: part of every result."""

import re
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bloomery_vision.cores import usable_cores


def threads(cpus: float) -> int:
    """How many threads to compute with, for so many cores, or for all that this process may use where it is 0."""
    return max(1, min(int(cpus), usable_cores()) if cpus else usable_cores())


def device() -> str:
    """The first GPU that the job was given ("cuda:0"), else "cpu"."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """The device for people, such as "cpu" or "NVIDIA H100"."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"


def processor() -> str:
    """The processor for people, such as "AMD EPYC 9B14"; "cpu" where it does not say."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        return found[1] if found else "cpu"
    return "cpu"


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
