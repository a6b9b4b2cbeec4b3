"""One image, several label files: what does not contradict is joined."""

from collections.abc import Sequence

from bloomery_vision.findings import warning
from bloomery_vision.formats.cleaning import Cleaned
from bloomery_vision.geometry import Shape, iou

_SAME_OBJECT = 0.5
"""Overlap from which two files mean one object, as COCO's evaluation has it."""

_SAME_PLACE = 0.9
"""Overlap from which objects of two classes are one that the files call differently; a rider covers less of a horse."""

_NEW, _SAME, _DIFFERENT, _OTHER_CLASS = "new", "same", "different", "other class"


def joined(parts: Sequence[tuple[str, Cleaned]]) -> Cleaned:
    """What several records say about one image; of two that mean one object the first is taken.

    Both are kept where they name two classes: neither file is known to be wrong, as one may be of finer classes.
    """
    (first, whole), *others = parts
    for name, cleaned in others:
        known = list(whole.shapes)
        fates = [_fate(shape, known) for shape in cleaned.shapes]
        whole.found.extend(cleaned.found)
        for shape, identifier, fate in zip(cleaned.shapes, cleaned.ids, fates, strict=True):
            if fate in (_NEW, _OTHER_CLASS):
                whole.shapes.append(shape)
                whole.ids.append(identifier)
        if different := fates.count(_DIFFERENT):
            whose = f"1 object of {name} is" if different == 1 else f"{different} objects of {name} are"
            message = f"{whose} otherwise in {first}, which is taken"
            hint = "leave out the file with the worse annotation"
            whole.found.append(warning("DUPLICATE_IMAGE", message, hint=hint, path=name))
        if others_class := fates.count(_OTHER_CLASS):
            whose = f"1 object of {name} is" if others_class == 1 else f"{others_class} objects of {name} are"
            message = f"{whose} of another class in {first}; both are kept"
            hint = "delete the wrong one, or leave out the file with the worse annotation"
            whole.found.append(warning("OTHER_CLASS", message, hint=hint, path=name))
    return whole


def _fate(shape: Shape, known: Sequence[Shape]) -> str:
    alike = [one for one in known if one.label == shape.label and one.crowd == shape.crowd]
    if any(one.geometry == shape.geometry for one in alike):
        return _SAME
    if _covered(shape, alike, _SAME_OBJECT):
        return _DIFFERENT
    return _OTHER_CLASS if _covered(shape, [one for one in known if one.label != shape.label], _SAME_PLACE) else _NEW


def _covered(shape: Shape, others: Sequence[Shape], overlap: float) -> bool:
    """Whether one of the others covers more than so much of both together."""
    box = shape.geometry.bounds
    return box is not None and any(
        bounds is not None and iou(box, bounds) > overlap for bounds in (one.geometry.bounds for one in others)
    )
