"""Turns annotation sets that callers send into drafts: everything that is wrong with them is found at once."""

import math
from collections.abc import Sequence
from dataclasses import replace

from bloomery.annotation.v1 import AnnotationSet, UpdateAnnotationSetRequest
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_annotation import convert, shapes
from bloomery_annotation.model import Asset
from bloomery_annotation.saving import MatchEtag, SetDraft
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text
from bloomery_vision.findings import Finding, Severity
from bloomery_vision.messages import shape_message, shape_value
from bloomery_vision.validate import usable, validate_shape

_FIELD = "annotation_set"
_KNOWN_SHOWN = 50
_LISTED = 100
"""Findings that the answer to a save lists."""


def draft(
    request: UpdateAnnotationSetRequest, set_id: str, asset: Asset, labels: Sequence[str], author: str
) -> SetDraft:
    """The draft of a request for that asset; `labels` are the ids that shapes may carry.

    What sticks out of the image is cut off, which the draft's `problems` say.

    Raises:
        InvalidArgument: with every shape that does not make sense on the image, and every unknown label.
    """
    message = request.annotation_set
    violations = Violations()
    check_text(message.provenance.agent, f"{_FIELD}.provenance.agent", violations)
    if message.provenance.source not in convert.SOURCES:
        violations.add(f"{_FIELD}.provenance.source", "is not a kind of origin; use HUMAN, MODEL or IMPORT")
    kept, problems = _on_image(message, asset, labels, violations)
    violations.raise_if_any()
    stored = shapes.pack(kept)
    if len(stored.blob) > shapes.MAX_BYTES:
        violations.add(f"{_FIELD}.shapes", f"take {len(stored.blob)} bytes; at most {shapes.MAX_BYTES} are allowed")
    violations.raise_if_any()
    return SetDraft(
        asset=asset,
        set_id=set_id,
        shapes=stored,
        provenance=convert.provenance(message.provenance, author),
        author=author,
        guard=MatchEtag(message.etag, request.allow_missing),
        problems=tuple(problems[:_LISTED]),
    )


def _on_image(
    message: AnnotationSet, asset: Asset, labels: Sequence[str], violations: Violations
) -> tuple[list[ShapeMessage], list[Finding]]:
    """The shapes as they are kept, cut at the image's edge as an import cuts them, and what is worth a look."""
    if len(message.shapes) > shapes.MAX_SHAPES:
        count = len(message.shapes)
        violations.add(f"{_FIELD}.shapes", f"has {count} shapes; at most {shapes.MAX_SHAPES} are allowed")
        return [], []
    known, kept, findings = set(labels), [], list[Finding]()
    they_are = f"; they are: {', '.join(labels[:_KNOWN_SHOWN]) or 'none yet; create one'}"
    for number, shape in enumerate(message.shapes):
        path = f"shapes[{number}]"
        if shape.label not in known:
            violations.add(f"{_FIELD}.{path}.label", f"{shape.label[:80]!r} is no label of the project{they_are}")
            they_are = ""
        _check_fields(shape, f"{_FIELD}.{path}", violations)
        kept.append(_cut(shape, asset, path, violations, findings))
    return kept, findings


def _check_fields(message: ShapeMessage, path: str, violations: Violations) -> None:
    check_text(message.source_id, f"{path}.source_id", violations, length=shapes.MAX_ID)
    check_text(message.model_version, f"{path}.model_version", violations, length=shapes.MAX_MODEL)
    if not (math.isfinite(message.confidence) and 0 <= message.confidence <= 1):
        violations.add(f"{path}.confidence", f"{message.confidence} must be from 0 to 1")
    for number in (message.group_id, message.track_id):
        if number < 0:
            violations.add(path, f"group_id and track_id must not be negative, as {number} is")


def _cut(
    message: ShapeMessage, asset: Asset, path: str, violations: Violations, findings: list[Finding]
) -> ShapeMessage:
    try:
        shape = shape_value(message)
    except ValueError as problem:
        violations.add(f"{_FIELD}.{path}", str(problem))
        return message
    if shape is None:
        violations.add(f"{_FIELD}.{path}", "needs a geometry: a box, a polygon, a mask or a tag")
        return message
    found = [one for one in validate_shape(shape, asset.width, asset.height, path) if one.code != "EMPTY_LABEL"]
    for finding in found:
        if finding.severity is Severity.ERROR:
            violations.add(f"{_FIELD}.{path}", f"{finding.code}: {finding.message}; {finding.hint}")
    findings += found
    if not usable(found):
        return message
    inside = shape.geometry.inside(asset.width, asset.height)
    if inside is None or inside is shape.geometry:
        return message
    kept = shape_message(replace(shape, geometry=inside))
    kept.confidence, kept.model_version = message.confidence, message.model_version
    return kept
