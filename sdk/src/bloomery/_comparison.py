"""Two model versions side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import MessageToDict

from bloomery._names import id_of, short
from bloomery._reproduction import mapping_differences
from bloomery._results import Difference
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference


@dataclass(frozen=True)
class MetricPair:
    """A figure of two versions on one dataset version; None for a version of which it was not measured there."""

    metric: str
    dataset_version: str
    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        """How much larger the second one is."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class VariantPair:
    """A variant of two versions: bytes of its files and median milliseconds; None where there is no READY one."""

    variant: str
    bytes_before: int | None
    bytes_after: int | None
    ms_before: float | None
    ms_after: float | None


@dataclass(frozen=True)
class ModelComparison:
    """Two versions side by side.

    Attributes:
        before: full name of the first one.
        after: full name of the second one.
        metrics: every figure by metric and dataset version; only what was measured on the same data is compared.
        differences: facts, parameters and versions of libraries that are not the same.
        data: in what their dataset versions differ; None where they have the same, or one is not there.
        variants: sizes and speed.
    """

    before: str
    after: str
    metrics: Sequence[MetricPair]
    differences: Sequence[Difference]
    data: dataset.CompareDatasetVersionsResponse | None
    variants: Sequence[VariantPair]


def comparison(
    before: inference.ModelCard, after: inference.ModelCard, data: dataset.CompareDatasetVersionsResponse | None
) -> ModelComparison:
    """What two cards have and have not in common."""
    first, second = before.model_version, after.model_version
    return ModelComparison(
        before=first.name,
        after=second.name,
        metrics=_metrics(_measured(before), _measured(after)),
        differences=[
            *mapping_differences("", _facts(first), _facts(second)),
            *mapping_differences("parameter ", _parameters(first), _parameters(second)),
            *mapping_differences("", first.lineage.versions, second.lineage.versions),
        ],
        data=data,
        variants=_variants(first, second),
    )


def _measured(card: inference.ModelCard) -> dict[tuple[str, str], float]:
    """The newest figure of each metric on each dataset version."""
    version = card.model_version
    found = {(name, version.lineage.dataset_version): value for name, value in version.metrics.items()}
    for one in reversed(card.evaluations):
        found |= {(name, one.dataset_version): value for name, value in one.metrics.items()}
    return found


def _metrics(before: Mapping[tuple[str, str], float], after: Mapping[tuple[str, str], float]) -> list[MetricPair]:
    return [MetricPair(*key, before.get(key), after.get(key)) for key in sorted({*before, *after})]


def _facts(version: inference.ModelVersion) -> dict[str, object]:
    lineage = version.lineage
    return {
        "classes": ", ".join(version.classes),
        "input": f"{version.input.width} x {version.input.height}",
        "recipe": lineage.recipe,
        "dataset version": short(lineage.dataset_version),
        "base": lineage.base,
        "base digest": lineage.base_digest,
        "licence": lineage.license,
        "seed": lineage.seed,
    }


def _parameters(version: inference.ModelVersion) -> dict[str, Any]:
    return MessageToDict(version.lineage.parameters)


def _variants(before: inference.ModelVersion, after: inference.ModelVersion) -> list[VariantPair]:
    old, new = _ready(before), _ready(after)
    return [
        VariantPair(name, _bytes(old.get(name)), _bytes(new.get(name)), _speed(old.get(name)), _speed(new.get(name)))
        for name in sorted({*old, *new})
    ]


def _ready(version: inference.ModelVersion) -> dict[str, inference.ModelVariant]:
    return {id_of(one.name): one for one in version.variants if one.state == one.STATE_READY}


def _bytes(variant: inference.ModelVariant | None) -> int | None:
    return None if variant is None else sum(one.size_bytes for one in variant.artifacts)


def _speed(variant: inference.ModelVariant | None) -> float | None:
    return variant.latency.p50_ms if variant and variant.HasField("latency") else None
