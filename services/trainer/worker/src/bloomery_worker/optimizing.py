"""OPTIMIZE: a model in another form, whatever recipe it is of."""

from collections.abc import Callable

from bloomery_worker.context import Context
from bloomery_worker.messages import ProgressNote
from bloomery_worker.recipe import Result
from bloomery_worker.variants import Original, Plan, make_variant


def optimize(context: Context, original: Callable[[], Original]) -> Result:
    """Makes a variant of the model that the job names, which `original` reads.

    Raises:
        ExportError: it does not give the same answers, or cannot be made.
    """
    plan = Plan.of(context)

    def say(phase: str, fraction: float) -> None:
        context.progress(ProgressNote(phase=phase, fraction=fraction, device="cpu"))

    made = make_variant(context, plan, original(), say=say, check=context.check_stop)
    parity = made.facts.parity
    return Result(
        files=made.files,
        metrics={"parity/original": parity.original_metric, "parity/variant": parity.variant_metric},
        details={},
        versions=made.versions,
        variants=(made.facts,),
    )
