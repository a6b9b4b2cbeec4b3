"""What every export needs, whatever framework it comes from: a Triton model directory.

A directory is self-contained: `config.pbtxt`, the model in `1/`, `labels.txt`, `manifest.json` with sizes and digests.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from bloomery.training.v1 import VariantFacts
from bloomery_worker.blobs import digest_of
from bloomery_worker.messages import FileNote

VARIANT_ROLE = "variant/"
"""Prefix of the roles of a directory's files."""
MAX_BATCH = 8
QUEUE_MICROSECONDS = 2000


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output of the model; `dims` without the batch axis."""

    name: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What an exported model takes and gives, how that is read, and what runs it.

    `size` is that of its uint8 RGB input `images`.
    """

    task: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    resize: str
    decoder: str
    runtime: str
    outputs: tuple[Tensor, ...]


def write_model_directory(
    root: Path, spec: ModelSpec, facts: VariantFacts, versions: Mapping[str, str]
) -> tuple[FileNote, ...]:
    """Completes a directory that holds the model in `1/`, and lists its files for publishing.

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
        f'backend: "{spec.runtime}"\nmax_batch_size: {MAX_BATCH}\n'
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
