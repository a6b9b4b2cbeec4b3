"""What an evaluation found image by image: small enough to keep, enough to compute its figures again from any images.

A table has one row an image, and is written as Parquet; its metadata names the task and the classes, whose numbers the
columns hold. Of detections it keeps for each of the `THRESHOLDS` of overlap whether COCO's matching gives it an object.
"""

import json
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bloomery_vision.geometry import Mask
from bloomery_vision.manifest import ManifestRow
from bloomery_vision.metrics import GroundTruth, sized
from bloomery_vision.postprocess import Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of overlap, as COCO has them: bit n of a column of hits stands for the n-th."""
MOST = 300
"""Detections of one class on one image that count, best first."""
_BITS = 1 << np.arange(len(THRESHOLDS), dtype=np.uint16)
_EXACT = 1 - 1e-10
"""An overlap that reaches a threshold of 1 up to rounding, as COCO has it."""
_KEY = b"bloomery.evaluation"
_IMAGE = tuple(pa.field(name, pa.string(), nullable=False) for name in ("asset", "file_name", "group"))
_NUMBERS, _FLAGS = pa.list_(pa.int32()), pa.list_(pa.uint16())

Overlaps = Mapping[str, Sequence[NDArray[np.floating]]]
"""By the prefix of its metrics, the overlap of each detection with each object, [D, G] for each image."""


def detection_records(
    rows: Sequence[ManifestRow],
    found: Sequence[Detections],
    truth: Sequence[GroundTruth],
    overlaps: Overlaps,
    *,
    classes: Sequence[str],
) -> pa.Table:
    """The table of an evaluation of boxes, or of boxes and masks.

    For each kind of overlap there are the lists `{prefix}hits` and `{prefix}ignored`: at which thresholds a detection
    takes an object, and at which it counts neither way as it takes a crowd. `objects` has the class of each object
    without crowds.
    """
    orders = [_counted(one) for one in found]
    columns: dict[str, pa.Array] = {
        "objects": pa.array([one.classes[~_crowds(one)] for one in truth], _NUMBERS),
        "classes": pa.array([one.classes[order] for one, order in zip(found, orders, strict=True)], _NUMBERS),
        "scores": pa.array(
            [one.scores[order] for one, order in zip(found, orders, strict=True)], pa.list_(pa.float32())
        ),
    }
    for prefix, of_images in overlaps.items():
        matched = [_matched(*one) for one in zip(found, orders, truth, of_images, strict=True)]
        columns[f"{prefix}hits"] = pa.array([hits for hits, _ in matched], _FLAGS)
        columns[f"{prefix}ignored"] = pa.array([ignored for _, ignored in matched], _FLAGS)
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


def box_overlaps(found: Sequence[Detections], truth: Sequence[GroundTruth]) -> list[NDArray[np.floating]]:
    """The overlaps of boxes, for `detection_records`: with a crowd, the part of the detection that lies in it."""
    return [
        _overlap(sized(one.boxes), sized(objects.boxes), objects) for one, objects in zip(found, truth, strict=True)
    ]


def mask_overlaps(
    masks: Sequence[Sequence[Mask]], true_masks: Sequence[Sequence[Mask]], truth: Sequence[GroundTruth]
) -> list[NDArray[np.floating]]:
    """The same of masks."""
    return [
        _overlap(_encoded(one), _encoded(others), objects)
        for one, others, objects in zip(masks, true_masks, truth, strict=True)
    ]


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


def _counted(found: Detections) -> NDArray[np.intp]:
    """Detections class by class, best first, at most `MOST` of each."""
    order = np.argsort(-found.scores.astype(np.float64), kind="stable")
    classes = found.classes[order]
    return np.concatenate([order[classes == number][:MOST] for number in np.unique(classes)] or [order])


def _crowds(truth: GroundTruth) -> NDArray[np.bool_]:
    return np.zeros(len(truth.classes), dtype=np.bool_) if truth.crowd is None else truth.crowd


def _matched(
    found: Detections, order: NDArray[np.intp], truth: GroundTruth, overlap: NDArray[np.floating]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The bits of the thresholds at which each of the detections in `order` is a hit, and is ignored.

    Each takes the object of its class that is left and that it overlaps most; a crowd only where there is none, and
    crowds are never used up.
    """
    crowd = _crowds(truth)
    free = np.ones((len(THRESHOLDS), len(crowd)), dtype=np.bool_)
    hits, ignored = np.zeros(len(order), np.uint16), np.zeros(len(order), np.uint16)
    same = found.classes[order][:, None] == truth.classes[None, :]
    near = np.where(same, overlap[order], -1.0)
    # All that overlap nothing, as most of the weak ones do, need no look.
    for index in np.flatnonzero((near >= THRESHOLDS[0]).any(axis=1)):
        fits = free & (near[index] >= np.minimum(THRESHOLDS, _EXACT)[:, None])
        takes = (fits & ~crowd).any(axis=1)
        hits[index], ignored[index] = _BITS[takes].sum(), _BITS[fits.any(axis=1) & ~takes].sum()
        free[takes, _last_best(np.where(fits[takes] & ~crowd, near[index], -1.0))] = False
    return hits, ignored


def _last_best(overlaps: NDArray[np.floating]) -> NDArray[np.intp]:
    """The largest in each row [T, G]; of equal ones the last, as COCO's loop takes it."""
    return np.asarray(overlaps.shape[1] - 1 - overlaps[:, ::-1].argmax(axis=1))


def _overlap(found: Sequence[object], objects: Sequence[object], truth: GroundTruth) -> NDArray[np.floating]:
    """[D, G], by the code that measures the average precisions, so that both agree to the last bit."""
    from faster_coco_eval.core import mask  # type: ignore[import-untyped]

    crowd = [int(one) for one in _crowds(truth)]
    if not found or not crowd:
        return np.zeros((len(found), len(crowd)))
    return np.asarray(mask.iou(found, objects, crowd))


def _encoded(masks: Sequence[Mask]) -> list[dict[str, object]]:
    return [{"size": [mask.height, mask.width], "counts": mask.counts} for mask in masks]
