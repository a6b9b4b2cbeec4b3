"""What the driver tells of the GPUs that a job was given. A machine without NVML has none."""

import contextlib
from collections.abc import Sequence

import pynvml

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpus:
    """The GPUs behind a list of indices or ids, as CUDA_VISIBLE_DEVICES has it; None for all, "" for none."""

    def __init__(self, visible: str | None) -> None:
        self._handles: Sequence[object] = ()
        if visible == "":
            return
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._handles = [_handle(one) for one in _listed(visible)]

    def memory_bytes(self) -> int:
        """Memory in use, of all together."""
        return sum(_used_bytes(one) for one in self._handles)

    def utilization(self) -> float:
        """The part of the time in which they compute, 0 to 1, on average."""
        used = [_percent(one) for one in self._handles]
        return sum(used) / len(used) / 100 if used else 0.0

    def millijoules(self) -> int | None:
        """Energy since their driver was loaded; None where they do not count it."""
        try:
            used = [int(pynvml.nvmlDeviceGetTotalEnergyConsumption(one)) for one in self._handles]
        except pynvml.NVMLError:
            return None
        return sum(used) if used else None


def _used_bytes(handle: object) -> int:
    with contextlib.suppress(pynvml.NVMLError):
        return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
    return 0


def _percent(handle: object) -> int:
    with contextlib.suppress(pynvml.NVMLError):
        return int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    return 0


def _listed(visible: str | None) -> list[str]:
    if visible is None:
        return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]
    return [one.strip() for one in visible.split(",") if one.strip()]


def _handle(device: str) -> object:
    if device.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(device))
    return pynvml.nvmlDeviceGetHandleByUUID(device)
