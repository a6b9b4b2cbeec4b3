"""Turns annotation sets that callers send into drafts: everything that is wrong with them is found at once."""

import math
from collections.abc import Sequence

from bloomery.annotation.v1 import AnnotationSet, UpdateAnnotationSetRequest
from bloomery.vision.v1 import Shape as ShapeMessage
from bloomery_annotation import convert, shapes
from bloomery_annotation.model import Asset
from bloomery_annotation.saving import MatchEtag, SetDraft
from bloomery_kit.errors import Violations
from bloomery_kit.fields import check_text
from bloomery_vision.findings import Severity
from bloomery_vision.messages import shape_value
from bloomery_vision.validate import validate_shape

_FIELD = "annotation_set"
_KNOWN_SHOWN = 50


def draft(
    request: UpdateAnnotationSetRequest, set_id: str, asset: Asset, labels: Sequence[str], author: str
) -> SetDraft:
    """The draft of a request for that asset; `labels` are the ids that shapes may carry.

    Raises:
        InvalidArgument: with every shape that does not make sense on the image, and every unknown label.
    """
    message = request.annotation_set
    violations = Violations()
    check_text(message.provenance.agent, f"{_FIELD}.provenance.agent", violations)
    if message.provenance.source not in convert.SOURCES:
        violations.add(f"{_FIELD}.provenance.source", "is not a kind of origin; use HUMAN, MODEL or IMPORT")
    _check_shapes(message, asset, labels, violations)
    violations.raise_if_any()
    stored = shapes.pack(message.shapes)
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
    )


def _check_shapes(message: AnnotationSet, asset: Asset, labels: Sequence[str], violations: Violations) -> None:
    if len(message.shapes) > shapes.MAX_SHAPES:
        count = len(message.shapes)
        violations.add(f"{_FIELD}.shapes", f"has {count} shapes; at most {shapes.MAX_SHAPES} are allowed")
        return
    known = set(labels)
    they_are = f"; they are: {', '.join(labels[:_KNOWN_SHOWN]) or 'none yet; create one'}"
    for number, shape in enumerate(message.shapes):
        path = f"{_FIELD}.shapes[{number}]"
        if shape.label not in known:
            violations.add(f"{path}.label", f"{shape.label[:80]!r} is no label of the project{they_are}")
            they_are = ""
        _check_shape(shape, asset, path, violations)


def _check_shape(message: ShapeMessage, asset: Asset, path: str, violations: Violations) -> None:
    if not (math.isfinite(message.confidence) and 0 <= message.confidence <= 1):
        violations.add(f"{path}.confidence", f"{message.confidence} must be from 0 to 1")
    for number in (message.group_id, message.track_id):
        if number < 0:
            violations.add(path, f"group_id and track_id must not be negative, as {number} is")
    try:
        shape = shape_value(message)
    except ValueError as problem:
        violations.add(path, str(problem))
        return
    if shape is None:
        violations.add(path, "needs a geometry: a box, a polygon, a mask or a tag")
        return
    for finding in validate_shape(shape, asset.width, asset.height):
        if finding.severity is Severity.ERROR and finding.code != "EMPTY_LABEL":
            violations.add(path, f"{finding.code}: {finding.message}; {finding.hint}")
