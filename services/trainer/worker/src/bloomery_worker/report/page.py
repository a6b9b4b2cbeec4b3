"""What the page shows of evaluations, and the page itself."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from bloomery_vision.calibration import Bin
from bloomery_vision.colors import color
from bloomery_worker.evaluation import Cell, Evaluation
from bloomery_worker.report.charts import Line, bars, curves
from bloomery_worker.report.explained import COLUMNS, MEANINGS
from bloomery_worker.report.pictures import Album

if TYPE_CHECKING:
    from bloomery_worker.context import Context

_CURVES = 12
"""Classes whose curves are drawn, those with the smallest area below them."""
_CLASSES = 30
"""Classes that a matrix shows, those with the most mistakes."""
_CELLS = 40
"""Cells whose mistakes are shown, those with the most."""
_THUMBNAILS = 6
"""Of each cell."""
_SHADES = 9
_BACKGROUND = "background"


def write_report(context: "Context", evaluations: Sequence[Evaluation], target: Path) -> None:
    """Writes the page about the evaluations of a job; images that cannot be read are named without a picture."""
    album = Album(context.dataset)
    style = files("bloomery_worker.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bloomery_worker.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["color"], environment.filters["figure"] = color, _figure
    page = environment.get_template("report.html.jinja").render(
        job=context.job,
        style=style,
        style_hash=digest,
        sections=[_section(one, album) for one in evaluations],
    )
    target.write_text(page, encoding="utf-8")


def _section(evaluation: Evaluation, album: Album) -> dict[str, object]:
    prefix = f"{evaluation.name}/"
    return {
        "name": evaluation.name,
        "images": evaluation.images,
        "metrics": [
            (name, value, MEANINGS.get(name.removeprefix(prefix), "")) for name, value in evaluation.values().items()
        ],
        "columns": _columns(evaluation.per_class),
        "per_class": evaluation.per_class,
        "charts": _charts(evaluation),
        "matrix": _matrix(evaluation),
        "cells": [_cell(evaluation, cell, album) for cell in _mistaken(evaluation)[:_CELLS]],
        "left_out": max(0, len(_mistaken(evaluation)) - _CELLS),
        "confidence": evaluation.insight.confidence,
        "worst": [
            {
                "file_name": one.row.file_name,
                "missed": one.missed,
                "extra": one.extra,
                "confused": one.confused,
                "truth": one.mistakes[0].truth,
                "predicted": one.mistakes[0].predicted,
                "score": one.mistakes[0].score,
                "picture": album.whole(one.mistakes),
            }
            for one in evaluation.insight.worst
        ],
        "boxes": evaluation.task != "classify",
    }


def _figure(value: object) -> object:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else value


def _columns(per_class: Sequence[Mapping[str, object]]) -> list[tuple[str, str]]:
    """The columns of the table of classes, and what they are called."""
    names = dict.fromkeys(name for one in per_class for name in one if name != "index")
    return [(name, COLUMNS.get(name, name.replace("_", " "))) for name in names]


def _charts(evaluation: Evaluation) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for figure, title, across, down in (
        ("precision_recall", "Precision and recall", "recall", "precision"),
        ("mask_precision_recall", "Precision and recall of masks", "recall", "precision"),
        ("roc", "ROC", "share of other images", "share of the class's images"),
    ):
        those = [one for one in evaluation.insight.curves if one.figure == figure]
        weakest = sorted(those, key=lambda one: float(one.y.mean()))[:_CURVES]
        places = {name: number for number, name in enumerate(evaluation.classes)}
        shown = [one for one in those if one in weakest] if len(those) > len(weakest) else those
        lines = [Line(one.label, one.x, one.y, places[one.label]) for one in shown]
        if lines:
            svg = curves(lines, across=across, down=down, title=title, diagonal=figure == "roc")
            note = f"the {_CURVES} weakest of {len(those)} classes" if len(those) > len(shown) else ""
            found.append({"title": title, "svg": svg, "lines": lines, "note": note})
    parts = [one for one in evaluation.insight.bins if one.count]
    if parts:
        edges = [(one.lower, one.upper, one.share, _told(one)) for one in parts]
        svg = bars(edges, across="score", down="share that is right", title="Reliability")
        note = "on the dashed line scores are what they say"
        found.append({"title": "Reliability", "svg": svg, "lines": [], "note": note})
    return found


def _told(part: Bin) -> str:
    return f"{part.count} with a mean score of {part.confidence:.3f}: {part.share:.1%} right"


def _mistaken(evaluation: Evaluation) -> list[Cell]:
    """The cells off the diagonal, those with the most mistakes first."""
    wrong = [cell for cell in evaluation.insight.cells if cell.truth != cell.predicted]
    return sorted(wrong, key=lambda cell: -cell.count)


def _matrix(evaluation: Evaluation) -> dict[str, object]:
    """The confusion matrix as rows of cells."""
    names: list[str | None] = list(evaluation.classes)
    if evaluation.task != "classify":
        names.append(None)
    counts = {(cell.truth, cell.predicted): cell.count for cell in evaluation.insight.cells}
    linked = {(cell.truth, cell.predicted) for cell in _mistaken(evaluation)[:_CELLS]}
    shown = _most_mistaken(evaluation, names)
    totals = {name: sum(cell.count for cell in evaluation.insight.cells if cell.truth == name) for name in shown}
    rows = [
        {
            "name": truth or _BACKGROUND,
            "cells": [
                {
                    "count": counts.get((truth, predicted), 0),
                    "shade": round(_SHADES * counts.get((truth, predicted), 0) / max(1, totals[truth])),
                    "id": _id(evaluation, truth, predicted) if (truth, predicted) in linked else "",
                    "right": truth == predicted,
                }
                for predicted in shown
            ],
        }
        for truth in shown
    ]
    return {"names": [name or _BACKGROUND for name in shown], "rows": rows, "left_out": len(names) - len(shown)}


def _most_mistaken(evaluation: Evaluation, names: Sequence[str | None]) -> list[str | None]:
    """The classes that are shown, in their order, and background."""
    mistakes = dict.fromkeys(names, 0)
    for cell in _mistaken(evaluation):
        mistakes[cell.truth] += cell.count
        mistakes[cell.predicted] += cell.count
    classes = [name for name in names if name is not None]
    kept = set(sorted(classes, key=lambda name: -mistakes[name])[:_CLASSES])
    return [name for name in names if name is None or name in kept]


def _cell(evaluation: Evaluation, cell: Cell, album: Album) -> dict[str, object]:
    return {
        "id": _id(evaluation, cell.truth, cell.predicted),
        "truth": cell.truth,
        "predicted": cell.predicted,
        "count": cell.count,
        "examples": [
            {"file_name": one.row.file_name, "score": one.score, "picture": album.thumbnail(one)}
            for one in cell.examples[:_THUMBNAILS]
        ],
    }


def _id(evaluation: Evaluation, truth: str | None, predicted: str | None) -> str:
    """Of the part of the page about a cell."""
    numbers = {name: str(number) for number, name in enumerate(evaluation.classes)}
    return f"{evaluation.name}-{numbers.get(truth or '', 'none')}-{numbers.get(predicted or '', 'none')}"
