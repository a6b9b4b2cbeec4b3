"""What every export needs, whatever framework it comes from: a Triton model directory, with proof that it is the same.

A directory is self-contained: `config.pbtxt`, `1/model.onnx`, `labels.txt`, `manifest.json` with sizes and digests.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from bloomery.training.v1 import VariantFacts, VariantLatency, VariantParity
from bloomery_vision.interpret import are_finite
from bloomery_worker.blobs import digest_of
from bloomery_worker.failures import ExportError
from bloomery_worker.messages import FileNote
from bloomery_worker.predictor import Images, Outputs, Predictor

VARIANT_ROLE = "variant/"
"""Prefix of the roles of a directory's files."""
MAX_BATCH = 8
QUEUE_MICROSECONDS = 2000
WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the answers of an export may lie from those of its original.

    Attributes:
        geometry: pixels of the model's input, for any coordinate.
        score: for any score or probability.
        metric: mAP50, or accuracy, on the golden images.
    """

    geometry: float = 0.5
    score: float = 0.001
    metric: float = 0.005

    def __str__(self) -> str:
        return f"geometry {self.geometry} px, scores {self.score}, metric {self.metric}"


@dataclass(frozen=True, slots=True)
class Parity:
    """How far they do lie, on real images, or on `generated` ones where there is no dataset version."""

    image_count: int
    max_geometry_error: float
    max_score_error: float
    original_metric: float
    variant_metric: float
    limits: Limits
    generated: bool = False

    @property
    def passed(self) -> bool:
        """Whether all is within the limits. What is no number is not."""
        return (
            self.max_geometry_error <= self.limits.geometry
            and self.max_score_error <= self.limits.score
            and abs(self.original_metric - self.variant_metric) <= self.limits.metric
        )

    def facts(self) -> VariantParity:
        """As the contract has it."""
        return VariantParity(
            image_count=self.image_count,
            max_geometry_error=self.max_geometry_error,
            max_score_error=self.max_score_error,
            original_metric=self.original_metric,
            variant_metric=self.variant_metric,
            passed=self.passed,
            limits=f"{self.limits}{', on generated images' * self.generated}",
        )


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output of the model; `dims` without the batch axis."""

    name: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What an exported model takes and gives. `size` is (height, width) of its uint8 RGB input `images`."""

    task: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    resize: str
    outputs: tuple[Tensor, ...]


def generated_images(count: int, size: tuple[int, int]) -> Images:
    """Images [count, height, width, 3] of coloured blocks under noise, always the same."""
    random = np.random.default_rng(0)
    blocks = random.integers(0, 192, (count, 8, 8, 3))
    rows, columns = (-(-side // 8) for side in size)
    enlarged = blocks.repeat(rows, axis=1).repeat(columns, axis=2)[:, : size[0], : size[1]]
    return (enlarged + random.integers(0, 64, enlarged.shape)).astype(np.uint8)


def largest_errors(
    original: Predictor, variant: Predictor, images: Images, *, geometry_rows: int
) -> tuple[float, float]:
    """The largest difference of a coordinate and of a score between two models on images [N, H, W, 3].

    The first `geometry_rows` rows of the first output [B, rows, ...] are coordinates, all else are scores.

    Raises:
        ExportError: the outputs have different shapes, or values that are no finite numbers.
    """
    geometry, score = 0.0, 0.0
    for start in range(0, len(images), MAX_BATCH):
        batch = images[start : start + MAX_BATCH]
        before, after = original(batch), variant(batch)
        _check_finite("original", before)
        _check_finite("variant", after)
        for number, (one, other) in enumerate(_pairs(before, after)):
            error = np.abs(one - other)
            rows = geometry_rows if number == 0 else 0
            geometry = max(geometry, float(error[:, :rows].max(initial=0.0)))
            score = max(score, float(error[:, rows:].max(initial=0.0)))
    return geometry, score


def measure_latency(
    predictor: Predictor, image: Images, *, threads: int, runs: int = 30, clock: Callable[[], float] = time.perf_counter
) -> VariantLatency:
    """Runs one image [H, W, 3] again and again."""
    batch = image[None]
    for _ in range(WARM_UP):
        predictor(batch)
    taken = np.empty(runs)
    for run in range(runs):
        started = clock()
        predictor(batch)
        taken[run] = clock() - started
    p50, p95 = np.percentile(taken * 1000, [50, 95])
    return VariantLatency(p50_ms=p50, p95_ms=p95, runs=runs, threads=threads, device="cpu")


def write_model_directory(
    root: Path, spec: ModelSpec, facts: VariantFacts, versions: Mapping[str, str]
) -> tuple[FileNote, ...]:
    """Completes a directory that holds `1/model.onnx`, and lists its files for publishing.

    manifest.json says what the variant is and which versions of libraries made it.
    """
    (root / "config.pbtxt").write_text(triton_config(spec), encoding="utf-8")
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in spec.classes), encoding="utf-8")
    files = [
        {"path": path.relative_to(root).as_posix(), "size_bytes": path.stat().st_size, "digest": digest_of(path)}
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    ]
    known = MessageToDict(facts, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    content = {**asdict(spec), **known, "versions": dict(versions), "files": files}
    (root / "manifest.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return tuple(_notes(root))


def triton_config(spec: ModelSpec) -> str:
    """`config.pbtxt`; without a name, because Triton takes that of the folder."""
    height, width = spec.size
    outputs = ",\n  ".join(_output(tensor) for tensor in spec.outputs)
    return (
        f'backend: "onnxruntime"\nmax_batch_size: {MAX_BATCH}\n'
        f'input [\n  {{ name: "images" data_type: TYPE_UINT8 dims: [ {height}, {width}, 3 ] }}\n]\n'
        f"output [\n  {outputs}\n]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}\n"
    )


def _output(tensor: Tensor) -> str:
    dims = ", ".join(str(dim) for dim in tensor.dims)
    label = ' label_filename: "labels.txt"' if len(tensor.dims) == 1 else ""
    return f'{{ name: "{tensor.name}" data_type: TYPE_FP32 dims: [ {dims} ]{label} }}'


def _notes(root: Path) -> Iterator[FileNote]:
    types = {".pbtxt": "text/plain", ".txt": "text/plain", ".json": "application/json"}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            inside = path.relative_to(root).as_posix()
            media_type = types.get(path.suffix, "application/octet-stream")
            yield FileNote(path=str(path), role=f"{VARIANT_ROLE}{inside}", file_name=inside, media_type=media_type)


def _check_finite(which: str, outputs: Outputs) -> None:
    # Their differences would be no numbers either, and no limit would notice.
    if not are_finite(outputs):
        hint = "look at the model's weights; at a lower precision, their range may be too large for it"
        raise ExportError(f"the {which} gives values that are no finite numbers", hint=hint)


def _pairs(one: Outputs, other: Outputs) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    shapes = [[output.shape for output in outputs] for outputs in (one, other)]
    if shapes[0] != shapes[1]:
        raise ExportError(f"the export gives outputs of shapes {shapes[1]}, the original {shapes[0]}")
    return zip(one, other, strict=True)
