"""Predictions on many images as a Parquet file. Needs the extra `bloomery[parquet]`, which is PyArrow.

A row is an image. Rows are written group by group, so that memory does not grow with their number.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bloomery._shapes import bounds
from bloomery.errors import FailedPrecondition

if TYPE_CHECKING:
    from bloomery import Prediction
    from bloomery.vision.v1 import Shape

_ROWS = 1000
"""Of a group at most; fewer where they have many shapes."""
_SHAPES = 20_000
_SIDES = ("x", "y", "width", "height")


class ParquetFile:
    """Writes such a file. Close it, or use `with`, which leaves out the rows that wait for their group to be full."""

    def __init__(self, path: Path) -> None:
        self._arrow, parquet = library()
        self._schema = _schema(self._arrow)
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self._shapes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.close()

    def add(self, name: str, prediction: "Prediction", origin: Mapping[str, Any]) -> None:
        """Write what is seen on an image."""
        width, height = prediction.size
        shapes = [_record(shape) for shape in prediction.shapes]
        self._take({"file_name": name, **origin, "width": width, "height": height, "shapes": shapes}, len(shapes))

    def refuse(self, name: str, error: Mapping[str, str], origin: Mapping[str, Any]) -> None:
        """Write that an image could not be predicted on."""
        reasons = {f"error_{key}": error[key] for key in ("reason", "message")}
        self._take({"file_name": name, **origin, **reasons}, 0)

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()

    def _take(self, row: Mapping[str, Any], shapes: int) -> None:
        self._rows.append(row)
        self._shapes += shapes
        if len(self._rows) == _ROWS or self._shapes >= _SHAPES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._shapes = [], 0


def library() -> tuple[Any, Any]:
    """PyArrow and its module for Parquet. Raises FailedPrecondition EXTRA_MISSING."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        hint = 'pip install "bloomery[parquet]"'
        raise FailedPrecondition(
            "Parquet needs PyArrow, which is not here", reason="EXTRA_MISSING", hint=hint
        ) from None
    return pyarrow, pyarrow.parquet


def _schema(arrow: Any) -> Any:
    box = arrow.struct([arrow.field(side, arrow.float64(), nullable=False) for side in _SIDES])
    shape = arrow.struct(
        [
            arrow.field("label", arrow.string(), nullable=False),
            arrow.field("score", arrow.float32(), nullable=False),
            arrow.field("kind", arrow.string(), nullable=False),
            arrow.field("box", box),
            arrow.field("rings", arrow.list_(arrow.list_(arrow.float64()))),
            arrow.field("mask_counts", arrow.string()),
        ]
    )
    texts = ("digest", "split", "asset", "video")
    return arrow.schema(
        [
            arrow.field("file_name", arrow.string(), nullable=False),
            *(arrow.field(name, arrow.string()) for name in texts),
            arrow.field("frame", arrow.int64()),
            arrow.field("time", arrow.float64()),
            arrow.field("width", arrow.int32()),
            arrow.field("height", arrow.int32()),
            arrow.field("error_reason", arrow.string()),
            arrow.field("error_message", arrow.string()),
            arrow.field("shapes", arrow.list_(shape)),
        ],
        metadata={"bloomery.predictions": "1"},
    )


def _record(shape: "Shape") -> Mapping[str, Any]:
    around = bounds(shape)
    kind = shape.WhichOneof("geometry")
    return {
        "label": shape.label,
        "score": shape.confidence,
        "kind": kind,
        "box": around and {side: getattr(around, side) for side in _SIDES},
        "rings": [list(ring.coordinates) for ring in shape.polygon.rings] if kind == "polygon" else None,
        "mask_counts": shape.mask.counts.decode("ascii") if kind == "mask" else None,
    }
