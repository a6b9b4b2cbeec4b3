"""What a file says of its own meaning, and what the job's parameters say of it."""

import ast
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Self

from bloomery_recipe_onnx.graph import Graph
from bloomery_vision.decoders import DECODERS_OF, YOLO_END_TO_END
from bloomery_worker.context import Context

LICENSE = "license"
OWN = "bloomery"
"""Key of the metadata that models have which were imported."""
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
_SMALLEST, _LARGEST = 8, 8192


@dataclass(frozen=True, slots=True)
class Stated:
    """What is said of a model; empty or None for what is not.

    Attributes:
        task: "detect", "segment", "classify", or another word of whoever wrote the file.
        classes: names in the order of their numbers.
        size: (height, width) of its input in pixels.
        scale: one of `foreign.SCALES`.
        layout: one of `foreign.NCHW` and `foreign.NHWC`.
        decoder: how its outputs are read.
        license: as the file states it.
    """

    task: str = ""
    classes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    scale: str = ""
    layout: str = ""
    decoder: str = ""
    license: str = ""

    def over(self, other: Self) -> "Stated":
        """This, and of the `other` what this does not say."""
        return Stated(**{key: value or getattr(other, key) for key, value in asdict(self).items()})


def of_parameters(context: Context, problems: list[str]) -> Stated:
    """What the job's parameters say; what is wrong with them goes to `problems`."""
    given = context.parameters
    classes = tuple(line.strip() for line in str(given.get("classes", "")).splitlines() if line.strip())
    return Stated(
        classes=classes,
        size=_size(str(given.get("input", "")), problems),
        scale=str(given.get("scale", "")),
        layout=str(given.get("layout", "")),
        decoder=str(given.get("decoder", "")),
    )


def _size(text: str, problems: list[str]) -> tuple[int, int] | None:
    if not text:
        return None
    found = _SIZE.fullmatch(text)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (_SMALLEST <= width <= _LARGEST and _SMALLEST <= height <= _LARGEST):
        problems.append(f"--input {text}: give WIDTHxHEIGHT of {_SMALLEST} to {_LARGEST} pixels, such as 640x640")
        return None
    return height, width


def of_file(graph: Graph, task: str) -> Stated:
    """What we, or the exporter of Ultralytics, have written into a file for a model of `task`; nothing for others."""
    known = graph.metadata
    if OWN in known:
        return _of_own(known[OWN], known.get(LICENSE, ""))
    if known.get("author") != "Ultralytics":
        return Stated(license=known.get(LICENSE, ""))
    names = _literal(known.get("names"))
    sides = _literal(known.get("imgsz"))
    numbered = isinstance(names, dict) and all(isinstance(key, int) for key in names)
    classes = [names[number] for number in sorted(names)] if numbered else names
    are_names = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    size = tuple(sides) if isinstance(sides, list) and len(sides) == 2 else None
    ends = known.get("end2end") == "True"
    return Stated(
        task=known.get("task", ""),
        classes=tuple(name.strip() for name in classes) if are_names else (),
        size=size if size and all(isinstance(side, int) and side > 0 for side in size) else None,
        scale="1/255",
        layout="nchw",
        decoder=YOLO_END_TO_END if ends and YOLO_END_TO_END in DECODERS_OF.get(task, ()) else "",
        license=known.get(LICENSE, ""),
    )


def _of_own(text: str, license: str) -> Stated:
    """What is kept with a model that was imported before; only its licence where that is not what we write."""
    try:
        content = json.loads(text)
        size = int(content["height"]), int(content["width"])
        task, decoder = str(content["task"]), str(content["decoder"])
        return Stated(task, tuple(map(str, content["classes"])), size, decoder=decoder, license=license)
    except (LookupError, TypeError, ValueError):
        return Stated(license=license)


def _literal(text: str | None) -> Any:
    """A value as Python writes it, which is how that exporter writes names and sizes; None where it is none."""
    try:
        return ast.literal_eval(text or "None")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
