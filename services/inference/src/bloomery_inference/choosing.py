"""Which variant answers for a version."""

from collections.abc import Collection, Sequence

from bloomery_inference.convert import version_name
from bloomery_inference.model import ModelVersion, Variant, VariantState
from bloomery_inference.ranking import fastest
from bloomery_kit.errors import FailedPrecondition, NotFound, PreconditionViolation


def chosen_variant(version: ModelVersion, wanted: str, formats: Collection[str]) -> Variant:
    """The variant of the id `wanted`, or the fastest, of those with a runtime here, which knows `formats`.

    Raise NotFound, FailedPrecondition NO_VARIANT.
    """
    among = [variant for variant in version.variants if wanted in ("", variant.id)]
    if wanted and not among:
        known = ", ".join(variant.id for variant in version.variants) or "none yet"
        name = f"{version_name(version)}/variants/{wanted}"
        raise NotFound("model variant", name, hint=f"the version has {known}; make it with `bloomery optimize`")
    ready = _usable(among, formats)
    if not ready:
        raise _none_ready(version, among, wanted, [variant.id for variant in _usable(version.variants, formats)])
    return fastest(ready)


def _usable(variants: Sequence[Variant], formats: Collection[str]) -> list[Variant]:
    return [variant for variant in variants if variant.state is VariantState.READY and variant.format in formats]


def _none_ready(
    version: ModelVersion, among: Sequence[Variant], wanted: str, others: Sequence[str]
) -> FailedPrecondition:
    """The refusal, which says what to do: take one of the `others` that can predict here, or make one."""
    name = version.title
    states = ", ".join(f"{variant.id} {_condition(variant)}" for variant in among) or "it has none yet"
    is_made = any(variant.state is VariantState.READY for variant in among)
    fix = f"make one with `bloomery optimize {name} --to {'onnx' if is_made else wanted or 'onnx'}`"
    if is_made and others:
        fix = f"take {' or '.join(others)}"
    message = f"{name} has no variant that can predict ({states}); {fix}"
    return FailedPrecondition("NO_VARIANT", message, [PreconditionViolation("NO_VARIANT", name, fix)])


def _condition(variant: Variant) -> str:
    is_ready = variant.state is VariantState.READY
    return "has no runtime here" if is_ready else f"is {variant.state}"
