"""bloomery optimize."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bloomery import errors
from bloomery._names import size
from bloomery.cli._live import follow_new
from bloomery.cli._options import Output, OutputOption, ProjectOption, VersionArgument, connect
from bloomery.cli._output import show
from bloomery.cli._pairs import values
from bloomery.cli._variants import show_variants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bloomery import Client, ModelVariant, ModelVersion
    from bloomery._jobs import Parameter
    from bloomery.inference.v1 import Parity

EXAMPLE = "Example: bloomery optimize cells-v@1 --to onnx-int8"
ALL = "all"


def run(
    version: VersionArgument,
    to: Annotated[
        str, typer.Option(metavar="FORM", help="Such as onnx, which is onnx-fp32, or onnx-int8; all for each in turn.")
    ] = "onnx",
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="DATASET[@VERSION]",
            help="Dataset version to calibrate and measure on; the one that the model was trained on by default.",
        ),
    ] = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as calibration_images=300; may be repeated."),
    ] = None,
    project: ProjectOption = None,
    output: OutputOption = Output.table,
) -> None:
    """Make a form of a model for serving, and prove that it gives the same answers. Ctrl-C only detaches."""
    settings = values(set_ or [], "--set")
    with connect(project) as client:
        model = client.model_version(version)
        if to == ALL:
            _make_all(client, model, on, settings)
            if not any(variant.state == "READY" for variant in show_variants(model, output)):
                raise typer.Exit(1)
            return
        variant = _make(client, model, to, on, settings)
    _show(variant, output)


def _make(
    client: "Client", model: "ModelVersion", to: str, on: str, settings: "Mapping[str, Parameter]"
) -> "ModelVariant":
    variant = model.optimize(to, on=on, settings=settings)
    if variant.state == "PENDING" and variant.proto.job:
        follow_new(client.job(variant.proto.job))
    return variant.wait()


def _make_all(client: "Client", model: "ModelVersion", on: str, settings: "Mapping[str, Parameter]") -> None:
    """Make one after the other, so that each is measured alone; what cannot be made is said, and does not end it."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    forms = list(client.model_forms())
    made = [form for form in forms if not form.needs]
    for form in forms:
        if form.needs:
            console.print(f"{form.id} is left out: it needs {escape(form.needs)}")
    for number, form in enumerate(made, 1):
        console.print(f"{form.id}, {number} of {len(made)}")
        try:
            _make(client, model, form.id, on, settings)
        except (errors.OptimizeFailed, errors.FailedPrecondition, errors.InvalidArgument) as error:
            console.print(f"{form.id}: {escape(error.message)}")


def _show(variant: "ModelVariant", output: Output) -> None:
    parity, latency = variant.parity, variant.latency
    rows = {
        "name": variant.name,
        "state": variant.state,
        "parity": f"{'passed' if parity.passed else 'failed'} on {parity.image_count} images, limits {parity.limits}",
        "geometry error": f"{parity.max_geometry_error:.3g} px",
        "score error": f"{parity.max_score_error:.3g}",
        "metric": _metric(parity),
        "latency": f"p50 {latency.p50_ms:.1f} ms, p95 {latency.p95_ms:.1f} ms ({latency.threads} threads, "
        f"{latency.device})",
        "throughput": f"{latency.images_per_second:.4g} images/s" if latency.images_per_second else "",
        "memory": size(latency.peak_memory_bytes) if latency.peak_memory_bytes else "",
    }
    show(variant.proto, rows, output)


def _metric(parity: "Parity") -> str:
    # An imported model is compared without labelled images, and so without a metric.
    measured = parity.original_metric or parity.variant_metric
    return f"{parity.original_metric:.4f} original, {parity.variant_metric:.4f} variant" if measured else ""
