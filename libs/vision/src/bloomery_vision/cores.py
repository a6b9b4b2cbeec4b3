"""How many cores this process may use: what libraries that start threads have to be told.

Their own defaults count the machine's cores, pin threads outside of the mask, and are throttled by the quota.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def usable_cores(*, groups: Path = _GROUPS, mount: Path = _MOUNT) -> int:
    """Cores in this process's affinity mask, or fewer by the CPU quota of its control groups; at least 1.

    Args:
        groups: lists the control groups of this process, as the kernel writes it.
        mount: where control groups are mounted, of version 1 or 2.
    """
    return max(1, int(min([len(os.sched_getaffinity(0)), *_quotas(groups, mount)])))


def _quotas(groups: Path, mount: Path) -> Iterator[float]:
    """In cores: of the process's own groups and of those around them, which limit it as well."""
    for line in _text(groups).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            root = mount / "cpu" if controllers else mount
            # A container may see its own group at the mount and its path from outside.
            for group in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield from _quota(root / group.relative_to("/"))


def _quota(group: Path) -> Iterator[float]:
    limit, period = [*_text(group / "cpu.max").split(), "", ""][:2]
    if not limit:
        limit, period = (_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    if limit.isdigit() and period.isdigit():
        yield int(limit) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
