"""Variants side by side."""

from typing import TYPE_CHECKING

import typer

from bloomery._names import size
from bloomery.cli._options import Output
from bloomery.cli._output import messages

if TYPE_CHECKING:
    from bloomery import ModelVariant, ModelVersion
    from bloomery.inference.v1 import Parity


def show_variants(version: "ModelVersion", output: Output) -> "list[ModelVariant]":
    """Write the variants of a version as one table, and return them."""
    found = list(version.variants())
    metric = "ACCURACY" if version.task == "classify" else "MAP50"
    titles = ("VARIANT", "STATE", "SIZE", "P50 MS", "P95 MS", "IMAGES/S", "MEMORY", metric, "ORIGINAL", "PARITY", "ON")
    messages([one.proto for one in found], titles, map(_row, found), output)
    if output is Output.table:
        for one in found:
            if one.proto.reason:
                typer.echo(f"{one.id}: {one.proto.reason}")
    return found


def _row(variant: "ModelVariant") -> tuple[object, ...]:
    parity, latency = variant.parity, variant.latency
    measured = _has_metric(parity)
    return (
        variant.id,
        variant.state,
        size(sum(one.size_bytes for one in variant.proto.artifacts)) if variant.proto.artifacts else "",
        latency.p50_ms or "",
        latency.p95_ms or "",
        latency.images_per_second or "",
        size(latency.peak_memory_bytes) if latency.peak_memory_bytes else "",
        f"{parity.variant_metric:.4f}" if measured else "",
        f"{parity.original_metric:.4f}" if measured else "",
        f"passed on {parity.image_count} images" if parity.passed else "",
        f"{latency.threads} threads, {latency.device}" if latency.threads else "",
    )


def _has_metric(parity: "Parity") -> bool:
    # An imported model is compared without labelled images, and so without a metric.
    return bool(parity.original_metric or parity.variant_metric)
