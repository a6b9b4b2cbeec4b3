"""How much of the machine a process tree takes."""

import time
from collections.abc import Callable

import psutil

from bloomery.training.v1 import SystemReported
from bloomery_worker.gpus import Gpus


class LoadMeter:
    """Measures the process tree below `pid`, itself included, and the job's GPUs."""

    def __init__(self, pid: int, gpus: Gpus, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._gpus = psutil.Process(pid), gpus
        self._clock = clock
        self._before = self._clock(), self._used()[0]

    def read(self) -> SystemReported:
        """The load since the last call, or since this meter was made."""
        seconds, memory = self._used()
        now = self._clock()
        (then, used), self._before = self._before, (now, seconds)
        return SystemReported(
            cpus=max(0.0, (seconds - used) / max(now - then, 1e-9)),
            memory_bytes=memory,
            gpu_memory_bytes=self._gpus.memory_bytes(),
            gpu_utilization=self._gpus.utilization(),
        )

    def _used(self) -> tuple[float, int]:
        """Seconds of processor time so far, and bytes of memory now."""
        seconds, memory = 0.0, 0
        for process in self._tree():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    seconds += times.user + times.system
                    memory += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return seconds, memory

    def _tree(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
