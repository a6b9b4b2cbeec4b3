"""Greedy non-maximum suppression, the one that everything is measured and served by.

Boxes are corners x1, y1, x2, y2 in pixels.
"""

import numpy as np
from numpy.typing import NDArray

_MANY = 2000
"""Boxes from which on it pays to look for the longest ones apart."""
_LONG = 0.9
"""Share of the boxes that are not among the longest."""


def nms(
    boxes: NDArray[np.floating], scores: NDArray[np.floating], *, iou: float, max_det: int | None = None
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression within one class.

    Args:
        boxes: [N, 4], corners.
        scores: [N]; of equal ones the first wins.
        iou: overlap above which the weaker of two boxes is dropped.
        max_det: the most boxes to keep.

    Returns:
        The indices of the boxes kept, best first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = suppress(boxes[order], np.zeros(len(order), dtype=np.int64), iou=iou, max_det=max_det or len(order))
    return order[kept]


def suppress_parts(
    boxes: NDArray[np.floating], groups: NDArray[np.int64], cut: NDArray[np.bool_], *, iou: float
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression of boxes of which some are cut off where a tile ends, within each group.

    Whole boxes are looked at first. Of a cut one nobody knows how large its object is: it goes also where most of it,
    more than `iou`, lies in one that is kept.

    Args:
        boxes: [N, 4], corners, best first.
        groups: [N], class numbers.
        cut: [N], which are cut.
        iou: overlap above which the weaker of two boxes is dropped.

    Returns:
        The indices of the boxes kept, best first.
    """
    in_turn = np.argsort(cut, kind="stable")
    return np.sort(_greedy(boxes, groups, in_turn, iou=iou, max_det=len(boxes), cut=cut))


def suppress(boxes: NDArray[np.floating], groups: NDArray[np.int64], *, iou: float, max_det: int) -> NDArray[np.intp]:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: [N, 4], corners, best first.
        groups: [N], class numbers.
        iou: overlap above which the weaker of two boxes is dropped.
        max_det: the most boxes to keep.

    Returns:
        The indices of the boxes kept, best first.
    """
    return _greedy(boxes, groups, np.arange(len(boxes)), iou=iou, max_det=max_det)


def _greedy(
    boxes: NDArray[np.floating],
    groups: NDArray[np.int64],
    in_turn: NDArray[np.intp],
    *,
    iou: float,
    max_det: int,
    cut: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Looks at boxes in turn, and keeps each that none kept before has dropped.

    A box is compared with those alone that lie beside it along the longer side of what they all cover: at low scores
    there are ten thousands, and nearly all lie elsewhere.
    """
    order, beside = _beside(boxes, groups)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    columns = np.ascontiguousarray(boxes[order].T)
    cut = None if cut is None else cut[order]
    left = np.ones(len(order), dtype=np.bool_)
    kept: list[int] = []
    for index, place in zip(in_turn.tolist(), places[in_turn].tolist(), strict=True):
        if len(kept) == max_det:
            break
        if not left[place]:
            continue
        kept.append(index)
        for begins, ends in beside:
            if begins[place] < ends[place]:
                near = slice(begins[place], ends[place])
                left[near] &= _overlaps(columns[:, place], columns[:, near], None if cut is None else cut[near]) <= iou
    return np.array(kept, dtype=np.intp)


def _beside(
    boxes: NDArray[np.floating], groups: NDArray[np.int64]
) -> tuple[NDArray[np.intp], list[tuple[list[int], list[int]]]]:
    """An order of boxes, and for each place in it from where to where all lie that one of its group may overlap.

    The longest ones are looked for apart: any of them would make all others look far.
    """
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    axis = int(np.argmax(high.max(axis=0, initial=-np.inf) - low.min(axis=0, initial=np.inf)))
    lengths = high[:, axis] - low[:, axis]
    is_long = lengths > (np.quantile(lengths, _LONG) if len(boxes) > _MANY else np.inf)
    order = np.lexsort((low[:, axis], groups, is_long))
    first, last, group_of = low[order, axis], high[order, axis], groups[order]
    border = len(order) - int(is_long.sum())
    among = slice(0, border), slice(border, len(order))
    return order, [_windows(first, last, group_of, one) for one in among if one.start < one.stop]


def _windows(
    first: NDArray[np.float64], last: NDArray[np.float64], groups: NDArray[np.int64], among: slice
) -> tuple[list[int], list[int]]:
    """For each box from where to where those of its group lie, of those `among`, that reach into it along the axis.

    Within `among` they are sorted by group, and those of a group by where they begin.
    """
    begins, ends = np.zeros(len(first), dtype=np.intp), np.zeros(len(first), dtype=np.intp)
    for group in np.unique(groups[among]):
        start, stop = among.start + np.searchsorted(groups[among], [group, group + 1])
        starts, asked = first[start:stop], groups == group
        # A little more, as differences are rounded.
        longest = (last[start:stop] - starts).max() * (1 + 1e-9)
        begins[asked] = start + np.searchsorted(starts, first[asked] - longest)
        ends[asked] = start + np.searchsorted(starts, last[asked])
    return begins.tolist(), ends.tolist()


def _overlaps(
    box: NDArray[np.floating], others: NDArray[np.floating], cut: NDArray[np.bool_] | None
) -> NDArray[np.floating]:
    """How far a box, [4], overlaps each of others, [4, N].

    Intersection over union; of those that are cut, the part
    that lies in the box.
    """
    x1, y1, x2, y2 = others
    shared = (np.minimum(box[2], x2) - np.maximum(box[0], x1)).clip(min=0)
    shared *= (np.minimum(box[3], y2) - np.maximum(box[1], y1)).clip(min=0)
    areas = (x2 - x1).clip(min=0) * (y2 - y1).clip(min=0)
    union = max(box[2] - box[0], 0) * max(box[3] - box[1], 0) + areas - shared
    whole = union if cut is None else np.where(cut, areas, union)
    overlaps: NDArray[np.floating] = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return overlaps
