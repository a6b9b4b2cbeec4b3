"""Energy counters: a folder that looks like the kernel's, with counters that begin again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from bloomery_worker.ending import Stopped, with_energy
from bloomery_worker.energy import MICRO, MILLI, Counter, EnergyMeter, moved, processor_counters
from bloomery_worker.gpus import Gpus
from bloomery_worker.messages import ResultNote

SPAN = 262_143_328_850


def zone(root: Path, place: str, name: str, energy: int | None) -> Path:
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{SPAN}\n")
    if energy is not None:
        (folder / "energy_uj").write_text(f"{energy}\n")
    return folder / "energy_uj"


def test_packages_and_their_memory_are_added_up_and_nothing_twice(tmp_path: Path) -> None:
    files = [
        zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000),
        zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000),
        zone(tmp_path, "intel-rapl:0:1", "dram", 0),
        zone(tmp_path, "intel-rapl:0:0", "core", 0),
        zone(tmp_path, "intel-rapl:2", "psys", 0),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0),
    ]
    meter = EnergyMeter(processor_counters(tmp_path))
    assert meter.read() == 0
    for file in files:
        file.write_text(f"{int(file.read_text()) + 2_000_000}\n")
    assert meter.read() == pytest.approx(6.0)
    assert meter.read() == pytest.approx(6.0)


def test_a_counter_that_begins_again_is_not_lost(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", SPAN - 3_000_000)
    meter = EnergyMeter(processor_counters(tmp_path))
    file.write_text("4000000\n")
    assert meter.read() == pytest.approx(7.0)
    file.write_text("5000000\n")
    assert meter.read() == pytest.approx(8.0)


def test_counters_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    assert EnergyMeter(processor_counters(tmp_path)).read() is None
    zone(tmp_path, "intel-rapl:0", "package-0", None)
    assert EnergyMeter(processor_counters(tmp_path)).read() is None


def test_a_counter_that_goes_away_keeps_what_was_counted(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(processor_counters(tmp_path))
    file.write_text("9000000\n")
    meter.read()
    file.unlink()
    assert meter.read() == pytest.approx(9.0)


def test_units_of_processors_and_gpus_are_added_in_joules() -> None:
    values = iter([0, 0, 3_000_000, 2_000])
    counters = [Counter(lambda: next(values), MICRO, SPAN), Counter(lambda: next(values), MILLI)]
    assert EnergyMeter(counters).read() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("before", "now", "span", "far"), [(5, 9, 100, 4), (90, 5, 100, 15), (90, 5, 0, 0), (7, 7, 9, 0)]
)
def test_how_far_a_counter_went(before: int, now: int, span: int, far: int) -> None:
    assert moved(before, now, span) == far


@pytest.mark.parametrize("visible", ["", "7", "GPU-nowhere"])
def test_gpus_that_are_not_there_take_nothing(visible: str) -> None:
    none = Gpus(visible)
    assert (none.memory_bytes(), none.utilization(), none.millijoules()) == (0, 0.0, None)


def test_only_a_result_tells_its_energy_and_only_where_it_was_read() -> None:
    result = ResultNote(files=(), metrics={}, details={"epochs": 2}, versions={})
    assert with_energy(result, 12.5) == replace(result, details={"epochs": 2, "energy_joules": 12.5})
    assert with_energy(result, None) == result
    assert with_energy(Stopped(2), 12.5) == Stopped(2)


def test_the_gpus_of_a_job_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # No driver is needed: each device answers with its own handle.
    answers: dict[str, Callable[[int], object]] = {
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda one: SimpleNamespace(used=one * 1000),
        "nvmlDeviceGetUtilizationRates": lambda one: SimpleNamespace(gpu=one * 10),
        "nvmlDeviceGetTotalEnergyConsumption": lambda one: one * 7,
    }
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    gpus = Gpus("1,3")
    assert (gpus.memory_bytes(), gpus.millijoules()) == (4000, 28)
    assert gpus.utilization() == pytest.approx(0.2)
