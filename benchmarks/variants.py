"""Every form of a detector, a segmenter and a classifier, as `bloomery models variants` shows them."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from defusedxml import ElementTree
from PIL import Image

from bloomery import Client, DatasetVersion, ModelVariant, errors
from bloomery.vision import v1 as vision
from harness.data import WEIGHTS, sample, weights
from harness.measure import Options, Table, options, report, say
from harness.server import running_server, scratch

IMAGES = 120
CORNERS = 16
CROPS = 120
"""Cut out of the photographs, of each class."""
Box = tuple[str, float, float, float, float]


@dataclass(frozen=True)
class Task:
    """A training of a minute or a few, and the data for it."""

    name: str
    build: Callable[[Client, Path, Path], DatasetVersion]
    base: str
    size: int
    epochs: int
    metric: str


def boxes(annotation: Path) -> Iterator[Box]:
    """Label and corners of each box of a VOC file."""
    for found in ElementTree.parse(annotation).iter("object"):
        corners = (float(found.findtext(f"bndbox/{name}", "0")) for name in ("xmin", "ymin", "xmax", "ymax"))
        left, top, right, bottom = corners
        yield found.findtext("name", ""), left, top, right, bottom


def photographs(folder: Path) -> Iterator[tuple[Path, list[Box]]]:
    """Images with their boxes."""
    for annotation in sorted((folder / "Annotations").glob("*.xml")):
        yield folder / "JPEGImages" / f"{annotation.stem}.jpg", list(boxes(annotation))


def build_boxes(client: Client, folder: Path, _: Path) -> DatasetVersion:
    """The photographs with their boxes."""
    project = client.create_project("detect")
    project.import_folder(folder)
    return project.build_dataset("detect-v", split="70/20/10", seed=1).wait()


def build_outlines(client: Client, folder: Path, place: Path) -> DatasetVersion:
    """The photographs with an ellipse in each box, as cells are round."""
    names = ["Platelets", "RBC", "WBC"]
    target = place / "outlines"
    for part in ("images", "labels"):
        (target / part).mkdir(parents=True)
    (target / "data.yaml").write_text(f"names: {names}\ntrain: images\n", encoding="utf-8")
    for image, found in photographs(folder):
        shutil.copyfile(image, target / "images" / image.name)
        with Image.open(image) as opened:
            lines = [f"{names.index(box[0])} {' '.join(ellipse(box, opened.size))}\n" for box in found]
        (target / "labels" / f"{image.stem}.txt").write_text("".join(lines), encoding="utf-8")
    project = client.create_project("segment")
    project.import_folder(target)
    return project.build_dataset("segment-v", split="70/20/10", seed=1, task="segment").wait()


def ellipse(box: Box, size: tuple[int, int]) -> Iterator[str]:
    """The corners of an ellipse in a box, as shares of the image."""
    _, left, top, right, bottom = box
    for corner in range(CORNERS):
        angle = 2 * math.pi * corner / CORNERS
        yield f"{(left + right + (right - left) * math.cos(angle)) / 2 / size[0]:.6f}"
        yield f"{(top + bottom + (bottom - top) * math.sin(angle)) / 2 / size[1]:.6f}"


def build_tags(client: Client, folder: Path, place: Path) -> DatasetVersion:
    """Single cells, cut out of the photographs, each with the tag of its kind."""
    target = place / "crops"
    target.mkdir()
    left: dict[str, int] = {}
    for image, found in photographs(folder):
        with Image.open(image) as opened:
            for label, *corners in found:
                left[label] = left.get(label, CROPS) - 1
                if left[label] >= 0:
                    x, y, x2, y2 = map(round, corners)
                    opened.crop((x, y, x2, y2)).save(target / f"{label}-{left[label]:03}.png")
    project = client.create_project("classify")
    project.import_folder(target)
    for name in left:
        project.create_label(name)
    for asset in project.assets():
        label = asset.display_name.partition("-")[0]
        asset.save_annotations([vision.Shape(label=label, tag=vision.Tag())])
    return project.build_dataset("classify-v", split="70/20/10", seed=1, task="classify").wait()


def tasks() -> Sequence[Task]:
    """The smallest model of each task."""
    base = WEIGHTS if weights() else "scratch"
    return (
        Task("detect", build_boxes, base, 320, 6, "map50"),
        Task("segment", build_outlines, "scratch", 160, 25, "map50"),
        Task("classify", build_tags, "scratch", 64, 10, "accuracy"),
    )


def made(client: Client, task: Task, folder: Path, place: Path, chosen: Options) -> list[ModelVariant]:
    """Train, and make each form, one after the other."""
    say(f"training a model to {task.name}")
    version = task.build(client, folder, place)
    settings = {"epochs": 1 if chosen.quick else task.epochs, "imgsz": task.size}
    job = version.train(f"yolo-{task.name}", base=task.base, settings=settings).wait()
    model = job.model_version()
    for form in client.model_forms():
        if not form.needs:
            say(f"{task.name} to {form.id}")
            try:
                model.optimize(form.id).wait()
            except errors.OptimizeFailed as error:
                say(error.message)
    return list(model.variants())


def table(task: Task, variants: Sequence[ModelVariant]) -> Table:
    """A row for each form."""
    figures = (task.metric, "of the original", "images", "coordinates off", "scores off")
    columns = ("form", "state", "size", "p50", "p95", "images/s", "memory", *figures)
    failures = [f"{one.id}: {one.proto.reason}" for one in variants if one.state != "READY"]
    ready = next(one for one in variants if one.state == "READY")
    note = f"{ready.latency.threads} threads, batches of {ready.latency.batch_size}. {'; '.join(failures)}".strip()
    title = f"yolo-{task.name}, the smallest model, {task.size} px"
    return Table(title, columns, [row(one) for one in variants], note)


def row(variant: ModelVariant) -> tuple[str, ...]:
    """The figures of a form."""
    parity, latency = variant.parity, variant.latency
    if variant.state != "READY":
        return (variant.id, variant.state, *[""] * 10)
    return (
        variant.id,
        variant.state,
        f"{sum(file.size_bytes for file in variant.proto.artifacts) / 2**20:.1f} MiB",
        f"{latency.p50_ms:.2f} ms",
        f"{latency.p95_ms:.2f} ms",
        f"{latency.images_per_second:.0f}",
        f"{latency.peak_memory_bytes / 2**20:.0f} MiB",
        f"{parity.variant_metric:.4f}",
        f"{parity.original_metric:.4f}",
        str(parity.image_count),
        f"{parity.max_geometry_error:.2g} px" if parity.max_geometry_error else "",
        f"{parity.max_score_error:.2g}",
    )


def main() -> None:
    """Measure and report."""
    chosen = options("Forms of models", rounds=1)
    found = weights()
    settings = {"BLOOMERY_WEIGHTS": str(found.parent)} if found else {}
    with scratch() as place, running_server(place, settings) as server, server.client() as client:
        folder = sample(place / "images", 20 if chosen.quick else IMAGES)
        tables = [table(task, made(client, task, folder, place, chosen)) for task in tasks()]
    report("variants", tables, chosen)


if __name__ == "__main__":
    main()
