"""Colours that tell labels apart: the same number always gives the same colour."""

import colorsys

_GOLDEN = 0.618033988749895
"""Steps of the golden ratio around the colour wheel never come close to an earlier one for long."""


def color(index: int) -> str:
    """The colour of label number `index`, as `#rrggbb`; neighbours differ in hue, and rounds in brightness."""
    hue = (0.58 + index * _GOLDEN) % 1
    lightness = (0.5, 0.38, 0.64)[index % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.78))
    return f"#{red:02x}{green:02x}{blue:02x}"


def rgb(text: str) -> tuple[int, int, int]:
    """The channels (0 to 255) of `#rrggbb`. Raises ValueError for anything else."""
    if len(text) != 7 or text[0] != "#":
        raise ValueError(f"{text!r} is not of the form #rrggbb")
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
