"""The cores that a process may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bloomery_vision.cores import usable_cores

MASK = len(os.sched_getaffinity(0))


def counted(folder: Path, groups: str, files: dict[str, str]) -> int:
    """The answer under control groups with these files."""
    (folder / "groups").write_text(groups)
    for name, content in files.items():
        path = folder / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return usable_cores(groups=folder / "groups", mount=folder / "mount")


@pytest.fixture
def one_core() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_core")
def test_the_affinity_mask_counts(tmp_path: Path) -> None:
    assert counted(tmp_path, "0::/\n", {"cpu.max": "800000 100000\n"}) == 1


def test_a_quota_counts(tmp_path: Path) -> None:
    assert counted(tmp_path, "0::/\n", {"cpu.max": "150000 100000\n"}) == 1


def test_a_quota_of_less_than_a_core_is_one(tmp_path: Path) -> None:
    assert counted(tmp_path, "0::/\n", {"cpu.max": "20000 100000\n"}) == 1


def test_a_quota_above_the_mask_changes_nothing(tmp_path: Path) -> None:
    assert counted(tmp_path, "0::/\n", {"cpu.max": f"{MASK + 4}00000 100000\n"}) == MASK


def test_the_quota_of_an_outer_group_counts(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "100000 100000\n", "cpu.max": "max 100000\n"}
    assert counted(tmp_path, "0::/a/b\n", files) == 1


def test_the_first_version_of_control_groups_is_read(tmp_path: Path) -> None:
    files = {"cpu/x/cpu.cfs_quota_us": "100000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}
    assert counted(tmp_path, "4:memory:/x\n2:cpu,cpuacct:/x\n0::/\n", files) == 1


def test_no_quota_leaves_the_mask(tmp_path: Path) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n", "cpu.max": "max 100000\n"}
    assert counted(tmp_path, "1:cpu:/\n0::/\n", files) == MASK


def test_a_machine_without_control_groups_has_its_mask(tmp_path: Path) -> None:
    assert usable_cores(groups=tmp_path / "none", mount=tmp_path) == MASK
