"""How much memory decoded images may take, so that they are not decoded again in each epoch."""

import psutil

from bloomery_worker import machine
from bloomery_worker.messages import JobSpec

MOST = 1 << 30
"""Bytes of the images of a split, in a process."""
_PART = 8
"""Of the job's memory a split may take one such part, in all processes together."""


def room(job: JobSpec) -> int:
    """Bytes of decoded images that a process may keep of a split: on a GPU each loader process keeps its own."""
    whole = job.memory_share or job.memory_bytes or psutil.virtual_memory().total
    loaders = 0 if machine.device() == "cpu" else int(job.parameters.get("workers", 0))
    return min(MOST, whole // _PART // (loaders + 1))
