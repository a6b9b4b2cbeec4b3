"""The files of an evaluation: its document, its curves and tables, and a page for people."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bloomery_vision.records import to_parquet
from bloomery_worker.context import Context
from bloomery_worker.evaluation import VERSION, Evaluation
from bloomery_worker.messages import FileNote
from bloomery_worker.report import write_report

_PARQUET = "application/vnd.apache.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("evaluation", pa.string(), nullable=False),
        pa.field("figure", pa.string(), nullable=False),
        pa.field("class", pa.string()),
        pa.field("predicted", pa.string()),
        pa.field("x", pa.float64()),
        pa.field("y", pa.float64()),
        pa.field("score", pa.float64()),
        pa.field("count", pa.int64()),
    ],
    metadata={b"bloomery.figures": json.dumps({"version": VERSION}).encode()},
)


def publish(context: Context, evaluations: Sequence[Evaluation], folder: Path) -> tuple[FileNote, ...]:
    """Writes the files of a job's evaluations into a folder, and says how to publish them."""
    files = [
        _document(evaluations, folder / "evaluation.json"),
        _figures(evaluations, folder / "figures.parquet"),
        _report(context, evaluations, folder / "report.html"),
    ]
    recorded = [one.records for one in evaluations if one.records is not None]
    return (*files, *(_records(table, folder / "records.parquet") for table in recorded))


def _document(evaluations: Sequence[Evaluation], target: Path) -> FileNote:
    first = evaluations[0] if evaluations else None
    content = {
        "version": VERSION,
        "task": first.task if first else "",
        "classes": list(first.classes) if first else [],
        "evaluations": {one.name: one.document() for one in evaluations},
    }
    target.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    return _note(target, "evaluation", "application/json")


def _figures(evaluations: Sequence[Evaluation], target: Path) -> FileNote:
    rows = [{"evaluation": one.name, **row} for one in evaluations for row in _long(one)]
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), target, compression="zstd")
    return _note(target, "figures", _PARQUET)


def _long(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    """One row a number or a point of a curve."""
    for name, value in evaluation.values().items():
        yield {"figure": name.partition("/")[2], "y": value}
    for one in evaluation.per_class:
        numbers = {name: value for name, value in one.items() if isinstance(value, float)}
        yield from ({"figure": name, "class": one["class"], "y": value} for name, value in numbers.items())
        yield {"figure": "instances", "class": one["class"], "count": one["instances"]}
    for cell in evaluation.insight.cells:
        yield {"figure": "confusion", "class": cell.truth, "predicted": cell.predicted, "count": cell.count}
    for part in evaluation.insight.bins:
        yield {
            "figure": "reliability",
            "x": part.confidence,
            "y": part.share,
            "score": part.upper,
            "count": part.count,
        }
    for curve in evaluation.insight.curves:
        points = zip(curve.x.tolist(), curve.y.tolist(), curve.scores.tolist(), strict=True)
        yield from (
            {"figure": curve.figure, "class": curve.label, "x": x, "y": y, "score": score} for x, y, score in points
        )


def _report(context: Context, evaluations: Sequence[Evaluation], target: Path) -> FileNote:
    write_report(context, evaluations, target)
    return _note(target, "report", "text/html")


def _records(table: pa.Table, target: Path) -> FileNote:
    target.write_bytes(to_parquet(table))
    return _note(target, "records", _PARQUET)


def _note(path: Path, role: str, media_type: str) -> FileNote:
    return FileNote(path=str(path), role=role, file_name=path.name, media_type=media_type)
