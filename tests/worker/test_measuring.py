"""What a form of a model takes is measured by itself."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from bloomery_worker import trial
from bloomery_worker.failures import ExportError
from bloomery_worker.measuring import measure
from tests.inference.models import one_box, write_failing_model, write_model

FILE = Path("1", "model.onnx")


class Paced:
    """A model that takes two milliseconds an image by its own clock."""

    output_names: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.now = 0.0
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        self.batches.append(len(images))
        self.now += 0.002 * len(images)
        return ()


def test_times_are_milliseconds_for_one_image_and_images_a_second_for_many() -> None:
    model = Paced()
    found = trial.times(model, np.zeros((8, 4, 4, 3), dtype=np.uint8), clock=lambda: model.now)
    assert (found["p50_ms"], found["p95_ms"]) == pytest.approx((2, 2))
    assert found["images_per_second"] == pytest.approx(500)
    assert (found["runs"], found["batch_size"]) == (30, 8)
    assert model.batches == [1] * 33 + [8] * 11


def test_a_slow_model_runs_less_often() -> None:
    model = Paced()
    clock = iter(np.arange(0, 1000, 3.0))
    found = trial.times(model, np.zeros((2, 4, 4, 3), dtype=np.uint8), clock=lambda: float(next(clock)))
    assert found["runs"] == 7


def test_a_model_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    held = np.ones(300 << 20, dtype=np.uint8)
    folder = write_model(tmp_path, one_box(8, 8, 4, 4, [0.9]), side=32)
    found = measure("onnxruntime", folder / FILE, (32, 32), threads=2, check=lambda: None)
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.images_per_second > 0
    assert (found.batch_size, found.threads, found.runs) == (8, 2, 30)
    assert 20 << 20 < found.peak_memory_bytes < held.nbytes
    assert found.device


def test_a_model_that_does_not_run_says_why(tmp_path: Path) -> None:
    folder = write_failing_model(tmp_path, side=32)
    with pytest.raises(ExportError, match=r"(?s)it cannot be measured: .*Reshape"):
        measure("onnxruntime", folder / FILE, (32, 32), threads=1, check=lambda: None)


def test_a_measurement_ends_on_request_with_its_process(tmp_path: Path) -> None:
    folder = write_model(tmp_path, one_box(8, 8, 4, 4, [0.9]), side=32)

    def check() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure("onnxruntime", folder / FILE, (32, 32), threads=1, check=check)
    assert not [one for one in psutil.Process().children() if "bloomery_worker.trial" in one.cmdline()]
