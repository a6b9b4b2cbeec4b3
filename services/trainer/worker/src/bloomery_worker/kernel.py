"""What the kernel knows: the death of a parent, and memory that ran out."""

import ctypes
import os
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")
_VM_COUNTERS = Path("/proc/vmstat")


def die_with_parent(parent: int) -> None:
    """Makes the kernel kill this process when its parent `parent` (a process id) ends.

    The parent may have ended before the call; then this process ends at once.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def out_of_memory_kills() -> int:
    """How often the kernel has killed for memory, in this control group or else on the machine; 0 where unknown."""
    return _counter(_CGROUP_EVENTS) or _counter(_VM_COUNTERS)


def _counter(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    pairs = (line.split() for line in lines)
    return next((int(value) for name, value in pairs if name == "oom_kill"), 0)
