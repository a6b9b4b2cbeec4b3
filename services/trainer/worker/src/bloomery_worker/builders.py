"""What makes each form of a model of an ONNX file in fp32."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bloomery_worker import machine
from bloomery_worker.engines import build, halve
from bloomery_worker.predictor import Images


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images to take ranges from, as the model takes them, and how many threads may do that.

    What is only expensive to find out lies in `cache`.
    """

    images: Iterator[Images]
    threads: int
    cache: Path


def _as_it_is(fp32: Path, target: Path, _: Calibration) -> None:
    fp32.rename(target)


def _calibrated(fp32: Path, target: Path, calibration: Calibration) -> None:
    from bloomery_worker.quantize import quantize

    quantize(fp32, target, calibration.images, threads=calibration.threads)


def _weights_only(fp32: Path, target: Path, _: Calibration) -> None:
    from bloomery_worker.quantize import quantize_weights

    quantize_weights(fp32, target)


def _converted(fp32: Path, target: Path, _: Calibration) -> None:
    import openvino

    openvino.save_model(openvino.Core().read_model(fp32), target, compress_to_fp16=False)


def _calibrated_and_converted(fp32: Path, target: Path, calibration: Calibration) -> None:
    int8 = fp32.with_name("int8.onnx")
    _calibrated(fp32, int8, calibration)
    _converted(int8, target, calibration)
    int8.unlink()


def _engine_in_halves(fp32: Path, target: Path, calibration: Calibration) -> None:
    half = fp32.with_name("fp16.onnx")
    halve(fp32, half)
    build(half, target, timings=_timings(calibration))
    half.unlink()


def _engine_in_8_bits(fp32: Path, target: Path, calibration: Calibration) -> None:
    from bloomery_worker.quantize import quantize

    int8 = fp32.with_name("int8.onnx")
    quantize(fp32, int8, calibration.images, threads=calibration.threads, symmetric=True)
    build(int8, target, timings=_timings(calibration))
    int8.unlink()


def _timings(calibration: Calibration) -> Path:
    """Of kernels on this GPU."""
    kind = re.sub(r"[^A-Za-z0-9]+", "-", machine.device_name())
    return calibration.cache / "tensorrt" / f"{kind}.timings"


BUILDERS: Mapping[str, Callable[[Path, Path, Calibration], None]] = {
    "onnx-fp32": _as_it_is,
    "onnx-int8": _calibrated,
    "onnx-int8-dynamic": _weights_only,
    "openvino-fp32": _converted,
    "openvino-int8": _calibrated_and_converted,
    "tensorrt-fp16": _engine_in_halves,
    "tensorrt-int8": _engine_in_8_bits,
}
"""What makes a form of an ONNX file in fp32, by the form's id: the file, its target, how to calibrate."""
