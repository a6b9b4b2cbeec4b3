"""Confusion matrices as pictures."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

CELL = 48
"""Pixels of a cell; less where there are many."""
MOST = 1200
"""Of a picture's cells together, in each direction."""
_LETTERS = 18
_FONT = 12


def drawn(counts: npt.NDArray[np.floating], names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """A matrix [seen, true] as a picture, uint8 [H, W, 3] RGB: a row for what was seen, a column for what is true.

    Each column is shaded by its shares; a cell has its count where there is room for it.
    """
    cell = max(2, min(CELL, MOST // max(len(names), 1)))
    labelled = cell > _FONT
    font = ImageFont.load_default(size=_FONT)
    margin = max((round(font.getlength(name[:_LETTERS])) for name in names), default=0) + 8 if labelled else 2
    side = margin + cell * len(names)
    picture = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(picture)
    shares = counts / np.maximum(counts.sum(0, keepdims=True), 1)
    for seen in range(len(names)):
        for true in range(len(names)):
            x, y, share = margin + true * cell, margin + seen * cell, float(shares[seen, true])
            pen.rectangle((x, y, x + cell - 1, y + cell - 1), fill=_shade(share), outline="#dddddd")
            text = f"{counts[seen, true]:.0f}"
            if labelled and counts[seen, true] and font.getlength(text) < cell:
                pen.text((x + cell / 2, y + cell / 2), text, "white" if share > 0.5 else "black", font, anchor="mm")
    if labelled:
        for index, name in enumerate(names):
            at = margin + index * cell + cell / 2
            pen.text((margin - 4, at), name[:_LETTERS], "black", font, anchor="rm")
            picture.paste(_upright(name[:_LETTERS], font, margin), (round(at - _FONT / 2), 0))
    return np.asarray(picture)


def _upright(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, length: int) -> Image.Image:
    """A text that is read from below."""
    line = Image.new("RGB", (length, _FONT + 4), "white")
    ImageDraw.Draw(line).text((4, 0), text, "black", font)
    return line.rotate(90, expand=True)


def _shade(share: float) -> tuple[int, int, int]:
    """From white to a dark blue."""
    return round(255 - 231 * share), round(255 - 187 * share), round(255 - 115 * share)
