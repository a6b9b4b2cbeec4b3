"""What a machine has, and that each of its GPUs goes to one process of the launcher."""

import asyncio
import json
from pathlib import Path

import pytest

from bloomery_trainer.launcher import machine, procfs
from bloomery_trainer.launcher.machine import count
from bloomery_trainer.model import Resources
from bloomery_trainer.settings import Machine
from tests.trainer.shell_workers import Bench, ended, runs, said, seen


async def devices(bench: Bench, *attempts: int) -> list[str]:
    """What each attempt's worker sees, once it runs."""
    return [await said(bench.work(attempt) / "devices") for attempt in attempts]


async def test_each_gpu_goes_to_one_job(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=3)
    for attempt, gpus in ((1, 2), (2, 1), (3, 0)):
        await launcher.launch(bench.order(attempt, gpus))
        await seen(launcher, runs, attempt)
    assert await devices(bench, 1, 2, 3) == ["0,1", "2", ""]


async def test_jobs_that_are_launched_at_once_get_gpus_of_their_own(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=4)
    await asyncio.gather(*(launcher.launch(bench.order(attempt, 1)) for attempt in range(1, 5)))
    assert sorted(await devices(bench, 1, 2, 3, 4)) == ["0", "1", "2", "3"]


async def test_a_gpu_is_free_again_when_its_job_has_ended(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; [ "$BLOOMERY_CPUS" = 1 ] || exec sleep 600')
    launcher = bench.launcher(gpus=2)
    await launcher.launch(bench.order(1, 2, cpus=1))
    await seen(launcher, ended)
    await launcher.launch(bench.order(2, 2))
    assert await devices(bench, 2) == ["0,1"]


async def test_a_launch_that_a_server_died_in_keeps_its_gpus(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    launcher = bench.launcher(gpus=2)
    # The worker of the first may be about to write itself down.
    bench.work(1).mkdir(parents=True)
    (bench.work(1) / "gpus.json").write_text(json.dumps({"boot": procfs.boot_id(), "gpus": [0]}))
    await launcher.launch(bench.order(2, 1))
    await launcher.launch(bench.order(1, 1))
    assert await devices(bench, 1, 2) == ["0", "1"]


async def test_a_launch_that_a_machine_died_in_holds_no_gpus(bench: Bench) -> None:
    bench.script('echo "$CUDA_VISIBLE_DEVICES" >devices; exec sleep 600')
    bench.work(1).mkdir(parents=True)
    (bench.work(1) / "gpus.json").write_text(json.dumps({"boot": "another", "gpus": [0]}))
    await bench.launcher(gpus=1).launch(bench.order(2, 1))
    assert await devices(bench, 2) == ["0"]


def test_a_machine_is_counted_with_its_containers_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    (tmp_path / "memory.max").write_text("1048576\n")
    for device in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / device).touch()
    assert count(Machine(), devices=tmp_path, cgroup=tmp_path) == Resources(3, 1 << 20, 2)
    assert count(Machine(cpus=8, memory_bytes=9, gpus=0), devices=tmp_path, cgroup=tmp_path) == Resources(8, 9, 0)
    (tmp_path / "memory.max").write_text("max\n")
    free = count(Machine(), devices=tmp_path, cgroup=tmp_path)
    assert free.memory_bytes > 1 << 20
