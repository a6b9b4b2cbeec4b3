"""bloomery models compare."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bloomery._names import short, size
from bloomery.cli._options import Output
from bloomery.cli._output import as_json, dump, fields, grid

if TYPE_CHECKING:
    from bloomery import ModelComparison
    from bloomery.dataset.v1 import CompareDatasetVersionsResponse


def show_comparison(found: "ModelComparison", output: Output) -> None:
    """Write two versions side by side."""
    if output is not Output.table:
        dump(_plain(found), output)
        return
    before, after = short(found.before), short(found.after)
    _some(
        ("METRIC", "ON", before, after, "DIFFERENCE"),
        [
            (one.metric, short(one.dataset_version), one.before, one.after, _signed(one.difference))
            for one in found.metrics
        ],
    )
    _some(("WHAT", before, after), [(one.what, one.before, one.after) for one in found.differences])
    if found.data:
        fields(_data(found.data))
    _some(
        ("VARIANT", f"{before} SIZE", f"{after} SIZE", f"{before} P50 MS", f"{after} P50 MS"),
        [
            (one.variant, _size(one.bytes_before), _size(one.bytes_after), one.ms_before, one.ms_after)
            for one in found.variants
        ],
    )


def _some(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        grid(titles, rows)


def _plain(found: "ModelComparison") -> dict[str, Any]:
    return {
        "before": found.before,
        "after": found.after,
        "metrics": [{**asdict(one), "difference": one.difference} for one in found.metrics],
        "differences": [asdict(one) for one in found.differences],
        "data": as_json(found.data) if found.data else None,
        "variants": [asdict(one) for one in found.variants],
    }


def _data(found: "CompareDatasetVersionsResponse") -> Mapping[str, object]:
    return {
        "images": f"{found.image_count} in {short(found.name)}, {found.other_image_count} in {short(found.other)}",
        "added": found.added_count,
        "removed": found.removed_count,
        "in another split": found.moved_count,
        "relabelled": found.relabelled_count,
        "classes added": ", ".join(found.added_classes),
        "classes removed": ", ".join(found.removed_classes),
    }


def _signed(difference: float | None) -> str:
    return "" if difference is None else f"{difference:+.4g}"


def _size(count: int | None) -> str:
    return "" if count is None else size(count)
