"""What this machine has to hand out."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from bloomery_trainer.model import Resources
from bloomery_trainer.settings import Machine
from bloomery_vision.cores import usable_cores

_CGROUP = Path("/sys/fs/cgroup")


def count(given: Machine, *, devices: Path = Path("/dev"), cgroup: Path = _CGROUP) -> Resources:
    """Cores, memory and GPUs of this machine, or of the container that it is; what is `given` is taken as it is."""
    cpus = given.cpus if given.cpus is not None else float(usable_cores())
    memory = given.memory_bytes if given.memory_bytes is not None else _memory(cgroup)
    gpus = given.gpus if given.gpus is not None else len(list(devices.glob("nvidia[0-9]*")))
    return Resources(cpus, memory, gpus)


def free_gpus(total: int, taken: Sequence[int]) -> list[int]:
    """The indices of devices that nobody uses."""
    return [index for index in range(total) if index not in taken]


def _memory(cgroup: Path) -> int:
    limit = _read(cgroup / "memory.max")
    total = psutil.virtual_memory().total
    return min(total, int(limit)) if limit.isdigit() else total


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
