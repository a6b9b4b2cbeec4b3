"""What a training step takes, from a few of them with fewer images, and how many images fit."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bloomery_worker.failures import GpuMemoryError, HostMemoryError, batch_hint

HEADROOM = 0.9
"""The part of the memory to plan with: fragments, evaluation and other processes need some too."""

_CHEAP = 16
"""The most images of a step that is made before anything is known of what fits."""

_PACES, _PACE_SECONDS = 3, 1.0
"""The most steps that tell the time, and the seconds after which no further one is made."""

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"


class NoRoomError(Exception):
    """A step did not fit into memory."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step of `batch` images takes: the most memory while it runs in bytes, and seconds."""

    batch: int
    peak_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the job's own step takes, measured or estimated, and how many images fit; 0 where that is not known."""

    step: Step
    largest_batch: int


class DeviceMemory:
    """Memory of a device ("cpu" stands for this process), of which there are `limit_bytes`.

    Args:
        device: as torch names it.
        host_bytes: of the machine or the container; 0 for what this machine has.
    """

    def __init__(self, device: str, *, host_bytes: int = 0) -> None:
        self.device = device
        self.limit_bytes = _gpu_bytes() if self.on_gpu else host_bytes or psutil.virtual_memory().total

    @property
    def on_gpu(self) -> bool:
        """Whether it is that of a GPU."""
        return self.device != "cpu"

    def forget_peak(self) -> None:
        """Begins to look for the most memory anew."""
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        # Where the kernel does not let us, the peak is that of the whole process, which is no less.
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text(_FORGET_PEAK, encoding="ascii")

    def peak_bytes(self) -> int:
        """The most memory in use since `forget_peak`."""
        if self.on_gpu:
            import torch

            return torch.cuda.max_memory_reserved()
        return _peak_resident((_PROCESS / "status").read_text(encoding="ascii"))


def rehearse(
    measure: Callable[[int], Step], batch: int, memory: DeviceMemory, *, seconds: float = float("inf")
) -> Rehearsal:
    """Finds out what a step of `batch` images takes, by steps of fewer images, its own, and the last one again.

    Args:
        measure: makes a step of so many images. Raises NoRoomError.
        batch: images of the job's step.
        memory: that of the device.
        seconds: a step that would take longer is estimated, not made.

    Raises:
        HostMemoryError, GpuMemoryError: the step does not fit; the hint names the largest that does.
    """
    steps: list[Step] = []
    for size in sizes(batch):
        if len(steps) >= 2:
            expected = estimate(steps, batch)
            if expected.peak_bytes > memory.limit_bytes:
                raise _too_large(batch, steps, memory)
            if expected.seconds > seconds:
                break
        try:
            steps.append(measure(size))
        except NoRoomError as problem:
            raise _too_large(batch, steps, memory) from problem
    fitting, last = largest_batch(steps, memory.limit_bytes), steps[-1]
    pace = _pace(measure, last.batch)
    if last.batch < batch:
        return Rehearsal(Step(batch, estimate(steps, batch).peak_bytes, pace * batch), fitting)
    return Rehearsal(Step(batch, last.peak_bytes, pace * batch), max(fitting, batch) if fitting else 0)


def _pace(measure: Callable[[int], Step], batch: int) -> float:
    """Seconds for an image, by steps of a size that was made before: the first one pays for what is loaded once."""
    taken = [measure(batch).seconds]
    # Other work on the machine comes in bursts.
    while len(taken) < _PACES and sum(taken) < _PACE_SECONDS:
        taken.append(measure(batch).seconds)
    return min(taken) / batch


def sizes(batch: int) -> list[int]:
    """The batches to try: some that are cheap, then the job's own. Normalisation needs two images at least."""
    return sorted({min(2, batch), min(max(3, batch // 4), _CHEAP, batch), batch})


def estimate(steps: Sequence[Step], batch: int) -> Step:
    """What a step of `batch` images will take, from at least two smaller ones."""
    base, slope = _line(steps)
    last = steps[-1]
    # First steps pay for what is loaded and compiled once, so that times do not lie on a line.
    return Step(batch, int(base + slope * batch), last.seconds / last.batch * batch)


def largest_batch(steps: Sequence[Step], limit_bytes: int) -> int:
    """The most images whose step fits; 0 where the steps do not tell."""
    if len(steps) < 2:
        return 0
    base, slope = _line(steps)
    return max(0, int((limit_bytes * HEADROOM - base) / slope)) if slope > 0 else 0


def _line(steps: Sequence[Step]) -> tuple[float, float]:
    """The memory of no image and of one more, from the last two steps."""
    first, last = steps[-2:]
    slope = (last.peak_bytes - first.peak_bytes) / (last.batch - first.batch)
    return last.peak_bytes - slope * last.batch, slope


def _too_large(batch: int, steps: Sequence[Step], memory: DeviceMemory) -> GpuMemoryError | HostMemoryError:
    hint = batch_hint(batch, min(largest_batch(steps, memory.limit_bytes), batch - 1))
    kind, place = (GpuMemoryError, "GPU") if memory.on_gpu else (HostMemoryError, "machine")
    has = f"the {place} has {memory.limit_bytes / 2**30:.1f} GiB"
    return kind(f"a step of {batch} images does not fit into memory: {has}", hint=hint)


def _gpu_bytes() -> int:
    """What this process could have of the first GPU: others may use it too."""
    import torch

    free, _ = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved()


def _peak_resident(status: str) -> int:
    """Bytes, from the text of a process's status."""
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10
