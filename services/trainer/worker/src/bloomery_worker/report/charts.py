"""Curves as inline SVG: styled by classes only, so that a page may forbid everything but its one style sheet.

Libraries that draw curves put a style into each element, which such a page would have to allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import NDArray

from bloomery_vision.colors import color

SIDE = 300
"""Of the square from 0 to 1, in units of the drawing."""
_LEFT, _TOP, _RIGHT, _BOTTOM = 54, 12, 12, 40
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TIGHT = 0.002
"""Points that are nearer to the line than this are left out."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve in the unit square, what is told where the pointer rests on it, and the number of its colour."""

    title: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    shade: int


def curves(lines: Sequence[Line], *, across: str, down: str, title: str, diagonal: bool = False) -> str:
    """Curves in the unit square; `across` and `down` name the axes."""
    drawing = _square(across, down, title)
    if diagonal:
        SubElement(drawing, "path", {"class": "guide", "d": _path(np.array([0.0, 1.0]), np.array([0.0, 1.0]))})
    for line in lines:
        pen = {"class": "curve", "stroke": color(line.shade), "d": _path(*_thinned(line.x, line.y))}
        SubElement(SubElement(drawing, "path", pen), "title").text = line.title
    return tostring(drawing, encoding="unicode")


def bars(edges: Sequence[tuple[float, float, float, str]], *, across: str, down: str, title: str) -> str:
    """Bars in the unit square from left to right: from where, to where, how high, what is told; and the diagonal."""
    drawing = _square(across, down, title)
    for start, end, height, text in edges:
        left, right = _x(start) + 0.5, _x(end) - 0.5
        shape = {
            "class": "bar",
            "x": f"{left:.1f}",
            "y": f"{_y(height):.1f}",
            "width": f"{right - left:.1f}",
            "height": f"{_y(0) - _y(height):.1f}",
        }
        SubElement(SubElement(drawing, "rect", shape), "title").text = text
    SubElement(drawing, "path", {"class": "guide", "d": _path(np.array([0.0, 1.0]), np.array([0.0, 1.0]))})
    return tostring(drawing, encoding="unicode")


def _square(across: str, down: str, title: str) -> Element:
    width, height = _LEFT + SIDE + _RIGHT, _TOP + SIDE + _BOTTOM
    drawing = Element("svg", {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-label": title})
    for tick in _TICKS:
        grid = f"M{_x(tick):.1f} {_y(0):.1f}V{_y(1):.1f}M{_x(0):.1f} {_y(tick):.1f}H{_x(1):.1f}"
        SubElement(drawing, "path", {"class": "grid", "d": grid})
        _text(drawing, _x(tick), _y(0) + 16, f"{tick:g}", "middle")
        _text(drawing, _x(0) - 6, _y(tick) + 4, f"{tick:g}", "end")
    _text(drawing, _x(0.5), _y(0) + 34, across, "middle")
    turned = _text(drawing, 0, 0, down, "middle")
    turned.set("transform", f"translate(12 {_y(0.5):.0f}) rotate(-90)")
    return drawing


def _text(drawing: Element, x: float, y: float, text: str, anchor: str) -> Element:
    found = SubElement(drawing, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor})
    found.text = text
    return found


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = [f"{_x(across):.1f} {_y(up):.1f}" for across, up in zip(x.tolist(), y.tolist(), strict=True)]
    return "M" + "L".join(points)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Without the points on straight stretches."""
    kept = [0]
    for place in range(1, len(x) - 1):
        if abs(y[place] - y[kept[-1]]) > _TIGHT or abs(y[place + 1] - y[place]) > _TIGHT:
            kept.append(place)
    kept.append(len(x) - 1)
    return x[kept], y[kept]


def _x(value: float) -> float:
    return _LEFT + value * SIDE


def _y(value: float) -> float:
    return _TOP + (1 - value) * SIDE
