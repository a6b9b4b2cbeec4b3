"""Which of a version's variants is the fastest."""

import math
from collections.abc import Sequence

from bloomery_inference.model import ModelVersion, Variant, VariantState

TIE = 0.05
"""What is slower by at most this part is as fast: another measurement might say the opposite."""


def fastest(ready: Sequence[Variant]) -> Variant:
    """The fastest; of those that are as fast, the one that lost least accuracy. What nobody measured comes last."""
    best = min(map(_milliseconds, ready))
    near = (variant for variant in ready if _milliseconds(variant) <= best * (1 + TIE))
    return min(near, key=lambda variant: (_lost(variant), variant.id != "onnx-fp32", variant.id))


def ranked(version: ModelVersion) -> Sequence[Variant]:
    """The READY variants, the fastest first, each as `fastest` takes it among those behind it."""
    left = [variant for variant in version.variants if variant.state is VariantState.READY]
    found = []
    while left:
        found.append(fastest(left))
        left.remove(found[-1])
    return found


def _milliseconds(variant: Variant) -> float:
    measured = variant.result.latency.get("p50_ms")
    return float(measured) if isinstance(measured, int | float) and measured > 0 else math.inf


def _lost(variant: Variant) -> float:
    before, after = (variant.result.parity.get(f"{which}_metric") for which in ("original", "variant"))
    return before - after if isinstance(before, int | float) and isinstance(after, int | float) else 0.0
