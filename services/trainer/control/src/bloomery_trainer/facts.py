"""Whether a result says what its readers need: a recipe's mistake shows here, and not at the first prediction."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from bloomery.training.v1 import ModelFacts, VariantFacts
from bloomery_trainer.model import Kind, Spec, Success
from bloomery_vision.decoders import DECODERS_OF, LETTERBOX, PROBABILITIES, RESIZES

M = TypeVar("M", bound=Message)
_TEXT = 1024
_NAME = 64
_LISTED = 10
_WORKER = "bloomery-worker"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MODELS = frozenset({Kind.TRAIN, Kind.IMPORT})


def problems(spec: Spec, success: Success) -> list[str]:
    """What is wrong with a result, field by field; empty where nothing is."""
    roles = [artifact.role for artifact in success.artifacts]
    found: list[str] = []
    variants = variant_facts(success)
    if spec.kind in _MODELS:
        model = model_facts(success)
        found += _of_model(model, spec) if model else [f"model: is required for {spec.kind.name}"]
        if model and not _is_newer(success.versions.get(_WORKER, "")):
            found += _unknown(model, spec)
        if "checkpoint" not in roles and not any(_is_model(variant) for variant in variants):
            found.append("artifacts: one of the role `checkpoint` is required, unless `variants` has the model itself")
    if spec.kind is Kind.OPTIMIZE and len(variants) != 1:
        found.append(f"variants: one is required for OPTIMIZE, not {len(variants)}")
    for index, variant in enumerate(variants):
        found += [f"variants[{index}].{problem}" for problem in _of_variant(variant, roles)]
    if len({variant.id for variant in variants}) < len(variants):
        found.append("variants: must have different ids")
    if odd := list(islice(_odd_numbers(success.details, "details"), _LISTED)):
        found.append(f"{', '.join(odd)}: must be finite; give null, or leave it out")
    return found


def _is_model(variant: VariantFacts) -> bool:
    """Whether jobs can work on a variant where there is no checkpoint."""
    return (variant.format, variant.precision) == ("onnx", "fp32") and not variant.failure


def _odd_numbers(value: object, path: str) -> Iterator[str]:
    """Where there is NaN or infinity, which JSON does not know."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _odd_numbers(each, f"{path}.{key[:_NAME]}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _odd_numbers(each, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path


def _of_model(facts: ModelFacts, spec: Spec) -> Iterator[str]:
    if facts.task != spec.task.value:
        yield f"model.task: must be {spec.task.name}, as the recipe's"
    if not facts.classes or not all(facts.classes) or len(set(facts.classes)) < len(facts.classes):
        yield "model.classes: at least one is required, none empty and none twice"
    if facts.input.height < 1 or facts.input.width < 1:
        yield "model.input: height and width must be greater than 0"
    if facts.base_digest and not _DIGEST.fullmatch(facts.base_digest):
        yield "model.base_digest: must be sha256: and 64 hexadecimal digits, or empty"
    yield from (f"model.{name}: {problem}" for name, problem in _texts(facts, ("decoder", "license", "base")))


def _unknown(facts: ModelFacts, spec: Spec) -> Iterator[str]:
    """Names that prediction of this version does not know, for a model of that task."""
    decoders = DECODERS_OF[spec.task.name.lower()]
    if facts.decoder not in decoders:
        yield f"model.decoder: must be one of {', '.join(decoders)}"
    resizes = RESIZES if decoders == (PROBABILITIES,) else (LETTERBOX,)
    if facts.input.resize not in resizes:
        yield f"model.input.resize: must be one of {', '.join(resizes)}"


def _is_newer(worker: str) -> bool:
    """Whether a worker is of a later version, as in an upgrade: what its recipes say is known by the services soon."""
    return _numbers(worker) > _numbers(version("bloomery-trainer"))


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"[0-9]{1,9}", text)[:3]]


def _of_variant(facts: VariantFacts, roles: Sequence[str]) -> Iterator[str]:
    yield from (f"{name}: {problem}" for name, problem in _texts(facts, ("id", "format", "precision", "device")))
    if not facts.failure and not (facts.role_prefix and any(role.startswith(facts.role_prefix) for role in roles)):
        yield "role_prefix: must be that of its files among the artifacts, unless `failure` says why there are none"
    for part in ("parity", "latency"):
        numbers = [value for _, value in getattr(facts, part).ListFields() if isinstance(value, float)]
        if not all(math.isfinite(value) and value >= 0 for value in numbers):
            yield f"{part}: must have finite numbers, none negative"


def _texts(message: Message, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if not 0 < len(getattr(message, name)) <= _TEXT:
            yield name, f"is required, with at most {_TEXT} characters"


def document(message: Message) -> Mapping[str, object]:
    """Facts in the form in which results keep them."""
    found: Mapping[str, object] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return found


def model_facts(success: Success) -> ModelFacts | None:
    """What a result says about its model."""
    return None if success.model is None else _parsed(success.model, ModelFacts())


def variant_facts(success: Success) -> list[VariantFacts]:
    """What a result says about forms of a model."""
    return [_parsed(each, VariantFacts()) for each in success.variants]


def _parsed(stored: Mapping[str, object], message: M) -> M:
    # A later version may have written it, and know more of it.
    return json_format.ParseDict(dict(stored), message, ignore_unknown_fields=True)
