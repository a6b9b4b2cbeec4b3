"""Rare classes: what each treatment of `classify-resnet` does for platelets and white cells among red ones."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data import blood_cells
from harness.measure import ROOT, Options, Table, median_and_range, options, report, say
from harness.server import scratch

WORKER = ROOT / ".venv-worker/bin/python"
TRAINS = Path(__file__).parent / "harness/treated.py"
IMAGES = {"train": 12, "val": 4, "test": 14}
QUICK = {"train": 6, "val": 4, "test": 4}
CUTS: Mapping[str, Mapping[str, int]] = {"long tail": {"WBC": 8, "Platelets": 5}, "as photographed": {}}
"""How many crops of a class there are in train at most."""
PARAMETERS = {"epochs": 8, "imgsz": 32, "batch": 24, "lr0": 0.002, "scale": 0.2, "flipud": 0.5, "patience": 0}
TREATMENTS: Mapping[str, Sequence[str]] = {
    "long tail": ("none", "weights", "focal", "sampler"),
    "as photographed": ("none", "sampler"),
}
"""Of each cut: two are enough where a network sees rare classes often enough to learn them."""
RARE = ("Platelets", "WBC")
Run = Mapping[str, Any]


def trained(chosen: Options, place: Path) -> Iterator[Run]:
    """Every treatment of every cut with every seed, as each ends."""
    given = {
        "place": str(place),
        "folder": str(blood_cells()),
        "images": QUICK if chosen.quick else IMAGES,
        "side": 64,
        "cuts": CUTS,
        "seeds": list(range(chosen.rounds)),
        "parameters": PARAMETERS | ({"epochs": 1} if chosen.quick else {}),
        "treatments": {cut: {one: {"imbalance": one} for one in names} for cut, names in TREATMENTS.items()},
    }
    with subprocess.Popen([WORKER, "-P", TRAINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(given))
        process.stdin.close()
        for line in process.stdout:
            run = json.loads(line)
            say(f"{run['cut']}, {run['treatment']}, seed {run['seed']}: {run['recall']} in {run['seconds']:.0f} s")
            yield run
    if process.returncode:
        raise SystemExit(f"the trainings ended with {process.returncode}")


def row(treatment: str, runs: Sequence[Run]) -> list[str]:
    """One line: each figure as the median of the seeds, with the smallest and the largest."""
    recalls = [[run["recall"][label] for run in runs] for label in (*RARE, "RBC")]
    means = [[run["metrics"][f"test/{name}"] for run in runs] for name in ("balanced_accuracy", "accuracy")]
    return [treatment, *(median_and_range(values) for values in (*recalls, *means))]


def table(cut: str, runs: Sequence[Run]) -> Table:
    """A cut's treatments side by side."""
    counts = runs[0]["counts"]
    shown = ", ".join(f"{counts[label]} {label}" for label in sorted(counts, key=counts.__getitem__, reverse=True))
    columns = ["imbalance=", *(f"recall {label}" for label in (*RARE, "RBC")), "balanced accuracy", "accuracy"]
    rows = [row(name, [run for run in runs if run["treatment"] == name]) for name in TREATMENTS[cut]]
    seeds = len({run["seed"] for run in runs})
    return Table(f"{cut}: {shown} to train on; test split, {seeds} seeds", columns, rows)


def main() -> None:
    """Train, and print the tables."""
    chosen = options(__doc__ or "", rounds=3)
    with scratch() as place:
        runs = list(trained(chosen, place))
    report("imbalance", [table(cut, [run for run in runs if run["cut"] == cut]) for cut in CUTS], chosen)


if __name__ == "__main__":
    main()
