"""`bloomery predict` on a folder of images, in single precision and in 8 bits, beside Ultralytics' own predict."""

from itertools import pairwise
from pathlib import Path

from harness.data import blood_cells, sample, weights
from harness.measure import Options, Table, median_and_range, options, ratios, report, say
from harness.peer import Yolo, threads
from harness.server import Server, running_server, scratch
from harness.trained import SIDE, make_model

IMAGES = 300
WARM = 5
VARIANTS = ("onnx-fp32", "onnx-int8")


def ours(server: Server, variant: str, folder: Path, out: Path) -> float:
    """Images a second of the whole command, with its start, into lines of JSON."""
    count = sum(1 for _ in folder.iterdir())
    return count / server.bloomery("predict", "cells-v@1", folder, "--variant", variant, "--to", out)


def peer(checkpoint: Path, folder: Path, place: Path) -> float:
    """Images a second from image to image of Ultralytics' own predict, without its start, on the square that we use."""
    lines = Yolo(place).run(
        "detect", "predict", model=str(checkpoint), source=str(folder), imgsz=SIDE, rect=False, save=False, conf=0.25
    )
    at = [line.at for line in lines if line.text.startswith("image ")]
    spans = [end - start for start, end in pairwise(at)][WARM:]
    return len(spans) / sum(spans)


def measure(place: Path, chosen: Options) -> dict[str, list[float]]:
    """In turns, by what predicts: images a second."""
    folder = sample(place / "images", 20 if chosen.quick else IMAGES)
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    rates: dict[str, list[float]] = {name: [] for name in (*VARIANTS, "peer")}
    with running_server(place, settings) as server:
        with server.client() as client:
            model = make_model(client, blood_cells() if not chosen.quick else folder, place, chosen)
            model.version.optimize("onnx-int8").wait()
        for number in range(chosen.rounds):
            say(f"round {number + 1} of {chosen.rounds}")
            for variant in VARIANTS:
                rates[variant].append(ours(server, variant, folder / "JPEGImages", place / "out"))
            rates["peer"].append(peer(model.checkpoint, folder / "JPEGImages", place))
    return rates


def table(rates: dict[str, list[float]], limits: dict[str, str]) -> Table:
    """Images a second, and beside Ultralytics."""
    rows = [
        (
            f"`bloomery predict`, {name}",
            median_and_range(rates[name], 1),
            median_and_range(ratios(rates[name], rates["peer"])),
            limits[name],
        )
        for name in VARIANTS
    ]
    rows.append(("Ultralytics predict", median_and_range(rates["peer"], 1), "", ""))
    note = (
        f"Ultralytics computes with {threads()} of the cores, as it does by itself; ours includes the command's start."
    )
    columns = ("what", "images/s", "times Ultralytics", "at least")
    return Table("a folder of 640x480 JPEG, YOLOv8n at 320 px", columns, rows, note)


def main() -> None:
    """Measure and report."""
    chosen = options("Folder", rounds=3)
    with scratch() as place:
        rates = measure(place, chosen)
    report("folder", [table(rates, {"onnx-fp32": "1.2", "onnx-int8": "2"})], chosen)


if __name__ == "__main__":
    main()
