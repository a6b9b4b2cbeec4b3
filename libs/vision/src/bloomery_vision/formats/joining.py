"""One image, several label files: what does not contradict is joined."""

from collections.abc import Sequence

from bloomery_vision.findings import warning
from bloomery_vision.formats.cleaning import Cleaned
from bloomery_vision.geometry import Shape, iou

_SAME_OBJECT = 0.5
"""Overlap from which two files mean one object, as COCO's evaluation has it."""

_NEW, _SAME, _DIFFERENT = "new", "same", "different"


def joined(parts: Sequence[tuple[str, Cleaned]]) -> Cleaned:
    """What several records say about one image; of two that mean one object the first is taken."""
    (first, whole), *others = parts
    for name, cleaned in others:
        known = list(whole.shapes)
        fates = [_fate(shape, known) for shape in cleaned.shapes]
        whole.found.extend(cleaned.found)
        for shape, identifier, fate in zip(cleaned.shapes, cleaned.ids, fates, strict=True):
            if fate == _NEW:
                whole.shapes.append(shape)
                whole.ids.append(identifier)
        if different := fates.count(_DIFFERENT):
            whose = f"1 object of {name} is" if different == 1 else f"{different} objects of {name} are"
            message = f"{whose} otherwise in {first}, which is taken"
            hint = "leave out the file with the worse annotation"
            whole.found.append(warning("DUPLICATE_IMAGE", message, hint=hint, path=name))
    return whole


def _fate(shape: Shape, known: Sequence[Shape]) -> str:
    alike = [one for one in known if one.label == shape.label and one.crowd == shape.crowd]
    if any(one.geometry == shape.geometry for one in alike):
        return _SAME
    box = shape.geometry.bounds
    boxes = [one.geometry.bounds for one in alike]
    overlaps = box and any(other and iou(box, other) > _SAME_OBJECT for other in boxes)
    return _DIFFERENT if overlaps else _NEW
