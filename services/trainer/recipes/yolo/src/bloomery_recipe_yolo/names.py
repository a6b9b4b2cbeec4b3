"""The library's measurements in names that are the same for all recipes."""

from collections.abc import Iterable, Mapping

_NAMES = {
    "metrics/precision(B)": "val/precision",
    "metrics/recall(B)": "val/recall",
    "metrics/mAP50(B)": "val/map50",
    "metrics/mAP50-95(B)": "val/map50_95",
    "metrics/precision(M)": "val/mask_precision",
    "metrics/recall(M)": "val/mask_recall",
    "metrics/mAP50(M)": "val/mask_map50",
    "metrics/mAP50-95(M)": "val/mask_map50_95",
    "metrics/accuracy_top1": "val/accuracy",
    "metrics/accuracy_top5": "val/accuracy_top5",
    "lr/pg0": "lr",
}


def renamed(values: Mapping[str, float]) -> dict[str, float]:
    """Measurements under our names; the learning rates of further parameter groups are left out."""
    return {
        _NAMES.get(name, name): float(value)
        for name, value in values.items()
        if not name.startswith("lr/pg") or name == "lr/pg0"
    }


def table(library_csv: str) -> str:
    """The library's table of epochs (CSV text) under our names."""
    lines = [line.split(",") for line in library_csv.strip().splitlines()]
    if not lines:
        return ""
    header = [name.strip() for name in lines[0]]
    kept = [index for index, name in enumerate(header) if not name.startswith("lr/pg") or name == "lr/pg0"]
    named = [[_NAMES.get(name, name) for name in header], *lines[1:]]
    return "".join(_line(row, kept) for row in named)


def _line(row: list[str], kept: Iterable[int]) -> str:
    return ",".join(row[index].strip() for index in kept) + "\n"
