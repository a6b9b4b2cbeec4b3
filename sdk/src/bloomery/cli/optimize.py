"""bloomery optimize."""

from typing import TYPE_CHECKING, Annotated

import typer

from bloomery.cli._live import follow_new
from bloomery.cli._options import Output, OutputOption, ProjectOption, connect
from bloomery.cli._output import show
from bloomery.cli.models import VersionArgument

if TYPE_CHECKING:
    from bloomery import ModelVariant
    from bloomery.inference.v1 import Parity

EXAMPLE = "Example: bloomery optimize cells-v@1 --to onnx"


def run(
    version: VersionArgument,
    to: Annotated[str, typer.Option(help="File format to make.")] = "onnx",
    precision: Annotated[str, typer.Option(help="Numbers to calculate with.")] = "fp32",
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Make a form of a model for serving, and prove that it gives the same answers. Ctrl-C only detaches."""
    with connect(project) as client:
        variant = client.model_version(version).optimize(to, precision=precision)
        if variant.state == "PENDING" and variant.proto.job:
            follow_new(client.job(variant.proto.job))
        variant.wait()
    _show(variant, output)


def _show(variant: "ModelVariant", output: Output) -> None:
    parity, latency = variant.parity, variant.latency
    rows = {
        "name": variant.name,
        "state": variant.state,
        "parity": f"{'passed' if parity.passed else 'failed'} on {parity.image_count} images ({parity.limits})",
        "geometry error": f"{parity.max_geometry_error:.3g} px",
        "score error": f"{parity.max_score_error:.3g}",
        "metric": _metric(parity),
        "latency": f"p50 {latency.p50_ms:.1f} ms, p95 {latency.p95_ms:.1f} ms ({latency.threads} threads, "
        f"{latency.device})",
    }
    show(variant.proto, rows, output)


def _metric(parity: "Parity") -> str:
    # An imported model is compared without labelled images, and so without a metric.
    measured = parity.original_metric or parity.variant_metric
    return f"{parity.original_metric:.4f} original, {parity.variant_metric:.4f} variant" if measured else ""
