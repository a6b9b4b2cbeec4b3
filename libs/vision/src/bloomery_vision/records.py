"""What an evaluation found image by image: small enough to keep, enough to compute its figures again from any images.

A table has one row an image, and is written as Parquet; its metadata names the task and the classes, whose numbers the
columns hold. Of detections it keeps for each of the `THRESHOLDS` of overlap whether COCO's matching gives it an object.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bloomery_vision.manifest import ManifestRow
from bloomery_vision.matching import Comparison, whatever_area

_KEY = b"bloomery.evaluation"
_IMAGE = tuple(pa.field(name, pa.string(), nullable=False) for name in ("asset", "file_name", "group"))


def detection_records(
    rows: Sequence[ManifestRow], comparisons: Mapping[str, Comparison], *, classes: Sequence[str]
) -> pa.Table:
    """The table of an evaluation of boxes, or of boxes and masks.

    For each kind of overlap there are the lists `{prefix}hits` and `{prefix}ignored`: at which thresholds a detection
    takes an object, and at which it counts neither way as it takes a crowd. `objects` has the class of each object
    without crowds.

    Args:
        rows: the images.
        comparisons: of the same detections and objects, by the prefix of their metrics; the first is that of boxes.
        classes: their names.
    """
    first = next(iter(comparisons.values()))
    counted, found = ~first.objects.crowd, first.found
    columns: dict[str, pa.Array] = {
        "objects": _lists(first.objects.classes[counted], first.objects.images[counted], len(rows), pa.int32()),
        "classes": _lists(found.classes, found.images, len(rows), pa.int32()),
        "scores": _lists(found.scores, found.images, len(rows), pa.float32()),
    }
    for prefix, one in comparisons.items():
        for name, bits in ("hits", one.hits), ("ignored", one.ignored):
            columns[f"{prefix}{name}"] = _lists(whatever_area(bits), found.images, len(rows), pa.uint16())
    return _table(rows, columns, "detect", classes)


def class_records(
    rows: Sequence[ManifestRow], truth: NDArray[np.int64], ranked: NDArray[np.int64], *, classes: Sequence[str]
) -> pa.Table:
    """The table of an evaluation of whole images.

    `truth` is the number of an image's class, `predicted` that of the most probable one, and `rank` how many are more
    probable than the true one, -1 where the model does not know it.

    Args:
        rows: the images that count.
        truth: [N], their classes.
        ranked: [N, K], the model's classes, the most probable first.
        classes: their names, and those of the classes that the model does not know.
    """
    hits = ranked == truth[:, None]
    rank = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
    columns = {"truth": truth, "predicted": ranked[:, 0], "rank": rank}
    return _table(rows, {name: pa.array(values, pa.int32()) for name, values in columns.items()}, "classify", classes)


def to_parquet(table: pa.Table) -> bytes:
    """The bytes of a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def from_parquet(content: bytes) -> pa.Table:
    """The table in a file. Raises ValueError where it is none of an evaluation."""
    table = pq.read_table(pa.BufferReader(content))
    about(table)
    return table


def about(table: pa.Table) -> tuple[str, tuple[str, ...]]:
    """The task ("detect" also where there are masks) and the classes. Raises ValueError where it has none."""
    found = (table.schema.metadata or {}).get(_KEY)
    if found is None:
        raise ValueError("the table is none of an evaluation")
    content = json.loads(found)
    return content["task"], tuple(content["classes"])


def _table(rows: Sequence[ManifestRow], columns: Mapping[str, pa.Array], task: str, classes: Sequence[str]) -> pa.Table:
    fields = [*_IMAGE, *(pa.field(name, column.type, nullable=False) for name, column in columns.items())]
    told = json.dumps({"task": task, "classes": list(classes)}).encode()
    images = [pa.array([getattr(row, field.name) for row in rows], pa.string()) for field in _IMAGE]
    return pa.table([*images, *columns.values()], schema=pa.schema(fields, metadata={_KEY: told}))


def _lists(values: NDArray[Any], images: NDArray[np.int64], count: int, kind: pa.DataType) -> pa.Array:
    """The values of each of `count` images as a list."""
    ends = np.searchsorted(images, np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values, kind))
