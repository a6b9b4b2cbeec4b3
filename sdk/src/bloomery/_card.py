"""Model cards as Markdown."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from bloomery._fields import task_name
from bloomery._files import replacing
from bloomery._names import id_of, short, size
from bloomery._results import moment
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference

METADATA = "metadata.json"
"""Name of the file with the card, beside the files of a version."""


@dataclass(frozen=True)
class ModelCard:
    """All that is known of a model version; `proto` has all of it."""

    proto: inference.ModelCard

    def __repr__(self) -> str:
        return f"<ModelCard of {short(self.proto.model_version.name)}>"

    def markdown(self) -> str:
        """The card as Markdown, with tables as GitHub writes them."""
        card, version = self.proto, self.proto.model_version
        blocks = [
            f"# {short(version.name)}",
            version.note,
            _table(("", ""), _facts(card)),
            *_section("Data", _data(card)),
            *_section("Parameters", [_table(("parameter", "value"), _parameters(version.lineage))]),
            *_section("Measurements", _measurements(card)),
            *_section("Variants", [_table(_VARIANT_TITLES, map(_variant, version.variants))]),
            *_section("Files", [_table(("file", "size", "digest"), _files(version))]),
            *_section("Made with", [_table(("part", "version"), sorted(version.lineage.versions.items()))]),
        ]
        return "\n\n".join(filter(None, blocks)) + "\n"


def write_metadata(folder: Path, card: inference.ModelCard) -> Path:
    """Write a card as `metadata.json` into a folder, and return the file."""
    target = folder / METADATA
    text = json.dumps(MessageToDict(card), indent=2, ensure_ascii=False)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        part.write_text(text + "\n", "utf-8")
    return target


Row = Sequence[object]
_VARIANT_TITLES = ("variant", "state", "device", "size", "parity", "original", "variant's", "p50 ms", "p95 ms")


def _section(title: str, blocks: Iterable[str]) -> list[str]:
    found = [block for block in blocks if block]
    return [f"## {title}", *found] if found else []


def _table(titles: Sequence[str], rows: Iterable[Row]) -> str:
    """A table, empty where it has no row."""
    lines = [_line(row) for row in rows]
    return "\n".join([_line(titles), _line(["---"] * len(titles)), *lines]) if lines else ""


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _facts(card: inference.ModelCard) -> Iterator[Row]:
    version, lineage = card.model_version, card.model_version.lineage
    given = {
        "model": card.display_name,
        "name": version.name,
        "uid": version.uid,
        "aliases": ", ".join(version.aliases),
        "deployments": ", ".join(map(id_of, card.deployments)),
        "state": "inactive" if version.state == version.STATE_INACTIVE else "",
        "task": task_name(version.task),
        "classes": ", ".join(version.classes),
        "input": f"{version.input.width} x {version.input.height} pixels, {version.input.resize}",
        "licence": lineage.license,
        "recorded": _when(version.create_time),
        "job": lineage.job,
        "recipe": lineage.recipe,
        "base": lineage.base,
        "base digest": lineage.base_digest,
        "labels": ", ".join(f"{key}={value}" for key, value in sorted(card.labels.items())),
    }
    return ((title, value) for title, value in given.items() if value)


def _data(card: inference.ModelCard) -> Iterator[str]:
    lineage = card.model_version.lineage
    if lineage.dataset_version:
        yield f"{short(lineage.dataset_version)} (`{lineage.dataset_version}`), content `{lineage.dataset_hash}`."
    if card.HasField("dataset_version"):
        yield _table(("part", "images", "without shapes", "shapes"), map(_part, card.dataset_version.statistics.splits))


def _part(part: dataset.SplitStatistics) -> Row:
    shapes = ", ".join(f"{name} {count}" for name, count in sorted(part.shapes.items()))
    return part.split, part.image_count, part.empty_count, shapes


def _parameters(lineage: inference.Lineage) -> Iterator[Row]:
    for name, value in sorted(MessageToDict(lineage.parameters).items()):
        yield name, int(value) if isinstance(value, float) and value.is_integer() else value


def _measurements(card: inference.ModelCard) -> Iterator[str]:
    version = card.model_version
    if version.metrics:
        yield f"By its training, on {short(version.lineage.dataset_version)}:"
        yield _metrics(version.metrics)
    for one in card.evaluations:
        yield f"By {short(one.job)} on {short(one.dataset_version)}, {_when(one.create_time)}:"
        yield _metrics(one.metrics)


def _metrics(metrics: Mapping[str, float]) -> str:
    return _table(("metric", "figure"), sorted(metrics.items()))


def _variant(variant: inference.ModelVariant) -> Row:
    parity, speed, measured = variant.parity, variant.latency, variant.HasField("latency")
    compared = f"{'passed' if parity.passed else 'failed'} on {parity.image_count} images, limits {parity.limits}"
    has_metric = parity.original_metric or parity.variant_metric
    return (
        short(variant.name),
        " ".join(filter(None, (variant.State.Name(variant.state).removeprefix("STATE_"), variant.reason))),
        variant.device,
        size(sum(one.size_bytes for one in variant.artifacts)),
        compared if variant.HasField("parity") else "",
        parity.original_metric if has_metric else "",
        parity.variant_metric if has_metric else "",
        speed.p50_ms if measured else "",
        speed.p95_ms if measured else "",
    )


def _files(version: inference.ModelVersion) -> Iterator[Row]:
    for one in version.artifacts:
        yield one.file_name or one.role, size(one.size_bytes), one.digest


def _when(time: Timestamp) -> str:
    return f"{moment(time):%Y-%m-%d %H:%M:%S} UTC"
