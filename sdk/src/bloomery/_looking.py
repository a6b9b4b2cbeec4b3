"""What of an image a prediction looks at."""

from collections.abc import Sequence
from typing import Literal

from bloomery.errors import InvalidArgument, Violation
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision

Masks = Literal["rle", "polygons"]
"""How the masks of a segmenter are answered."""
_FORMS = {"rle": inference.MASK_FORM_UNSPECIFIED, "polygons": inference.MASK_FORM_POLYGON}


def box_of(region: Sequence[float]) -> vision.Box:
    """The message of x, y, width and height. Raises InvalidArgument for anything else."""
    try:
        x, y, width, height = map(float, region)
    except (TypeError, ValueError):
        message = f"a region is four numbers (x, y, width, height), not {region!r}"
        error = InvalidArgument(message)
        error.violations = (Violation("region", message),)
        raise error from None
    return vision.Box(x=x, y=y, width=width, height=height)


def mask_form(masks: Masks) -> inference.MaskForm.ValueType:
    """The message's word for a form of masks. Raises InvalidArgument for any other."""
    if masks not in _FORMS:
        message = f"masks are answered as {' or '.join(_FORMS)}, not {masks!r}"
        error = InvalidArgument(message)
        error.violations = (Violation("masks", message),)
        raise error
    return _FORMS[masks]


def tiling_of(side: int | None, overlap: float | None) -> inference.Tiling | None:
    """The message of tiles, None for none; who says how much they overlap wants some."""
    if side is None and overlap is None:
        return None
    return inference.Tiling(size=side or 0, overlap=overlap)
