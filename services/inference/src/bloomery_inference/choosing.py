"""Which variant answers for a version."""

import math
from collections.abc import Collection, Sequence

from bloomery_inference.convert import version_name
from bloomery_inference.model import ModelVersion, Variant, VariantState
from bloomery_kit.errors import FailedPrecondition, NotFound, PreconditionViolation

TIE = 0.05
"""What is slower by at most this part is as fast: another measurement might say the opposite."""


def chosen_variant(version: ModelVersion, wanted: str, formats: Collection[str]) -> Variant:
    """The variant of the id `wanted`, or the fastest, of those with a runtime here, which knows `formats`.

    Raise NotFound, FailedPrecondition NO_VARIANT.
    """
    among = [variant for variant in version.variants if wanted in ("", variant.id)]
    if wanted and not among:
        known = ", ".join(variant.id for variant in version.variants) or "none yet"
        name = f"{version_name(version)}/variants/{wanted}"
        raise NotFound("model variant", name, hint=f"the version has {known}; make it with `bloomery optimize`")
    ready = [variant for variant in among if variant.state is VariantState.READY and variant.format in formats]
    if not ready:
        raise _none_ready(version, among, wanted)
    return fastest(ready)


def fastest(ready: Sequence[Variant]) -> Variant:
    """The fastest; of those that are as fast, the one that lost least accuracy. What nobody measured comes last."""
    best = min(map(_milliseconds, ready))
    near = (variant for variant in ready if _milliseconds(variant) <= best * (1 + TIE))
    return min(near, key=lambda variant: (_lost(variant), variant.id != "onnx-fp32", variant.id))


def _milliseconds(variant: Variant) -> float:
    measured = variant.result.latency.get("p50_ms")
    return float(measured) if isinstance(measured, int | float) and measured > 0 else math.inf


def _lost(variant: Variant) -> float:
    before, after = (variant.result.parity.get(f"{which}_metric") for which in ("original", "variant"))
    return before - after if isinstance(before, int | float) and isinstance(after, int | float) else 0.0


def _none_ready(version: ModelVersion, among: Sequence[Variant], wanted: str) -> FailedPrecondition:
    name = f"{version.model}@{version.number}"
    states = ", ".join(f"{variant.id} {_condition(variant)}" for variant in among) or "it has none yet"
    fix = f"make one with `bloomery optimize {name} --to {wanted or 'onnx'}`"
    message = f"{name} has no variant that can predict ({states}); {fix}"
    return FailedPrecondition("NO_VARIANT", message, [PreconditionViolation("NO_VARIANT", name, fix)])


def _condition(variant: Variant) -> str:
    is_ready = variant.state is VariantState.READY
    return "has no runtime on this server" if is_ready else f"is {variant.state}"
