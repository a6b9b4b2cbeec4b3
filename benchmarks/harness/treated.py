"""Trains classifiers of crops of boxes with several treatments of rare classes; run in the worker's environment.

Reads one JSON object from standard input, and prints a line of JSON for each training.
"""

import hashlib
import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from bloomery_recipe_timm.resnet import recipe
from bloomery_vision.formats import FolderSource, Format, read, understand
from bloomery_vision.geometry import Box, Shape, Tag
from bloomery_vision.manifest import ManifestIndex, ManifestRow, ManifestShard, write_shard
from bloomery_vision.manifest_hash import content_hash
from bloomery_worker.cache import BlobCache
from bloomery_worker.context import Context
from bloomery_worker.messages import CheckpointNote, JobSpec, Note, Value

RECIPE = Path(__file__).parents[2] / "services/trainer/recipes/timm/src/bloomery_recipe_timm/resnet/recipe.yaml"
MARGIN = 0.1
Crop = tuple[str, bytes, str, str]
"""Its name, PNG, split and class."""


def digest(content: bytes) -> str:
    """As the object store names it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def crops(folder: Path, images: Mapping[str, int], side: int) -> Iterator[Crop]:
    """Squares around the boxes of the first images of each official split, at most `side` pixels each way."""
    left, source = Counter(images), FolderSource(folder)
    for item in read(source, understand(source, Format.VOC)):
        if item.failed or not item.split or left[item.split] <= 0:
            continue
        left[item.split] -= 1
        with Image.open(folder / item.image_path) as opened:
            picture = opened.convert("RGB")
        for number, shape in enumerate(item.shapes):
            if isinstance(shape.geometry, Box):
                name = f"{Path(item.image_path).stem}-{number}.png"
                yield name, png(picture, shape.geometry, side), item.split, shape.label


def png(picture: Image.Image, box: Box, side: int) -> bytes:
    """The square around a box with a margin, cut at the edges of its image."""
    half = max(box.width, box.height) * (0.5 + MARGIN)
    across, down = box.x + box.width / 2, box.y + box.height / 2
    left, top = max(0, across - half), max(0, down - half)
    right, bottom = min(picture.width, across + half), min(picture.height, down + half)
    cut = picture.crop((round(left), round(top), round(right), round(bottom)))
    cut.thumbnail((side, side))
    written = BytesIO()
    cut.save(written, "png")
    return written.getvalue()


def long_tailed(cut: Sequence[Crop], most: Mapping[str, int], seed: int) -> list[Crop]:
    """The crops with at most so many of each class in train, chosen by the seed."""
    kept = [crop for crop in cut if crop[2] != "train"]
    for label in sorted({crop[3] for crop in cut}):
        own = [crop for crop in cut if crop[2] == "train" and crop[3] == label]
        chosen = np.random.default_rng(seed).permutation(len(own))[: most.get(label, len(own))]
        kept += [own[index] for index in sorted(chosen)]
    return kept


def lay_out(cut: Sequence[Crop], place: Path) -> tuple[Path, tuple[str, ...]]:
    """A dataset version of the crops in a cache of blobs: where its index is, and its classes."""
    rows = sorted((_row(crop, place) for crop in cut), key=lambda row: row.file_name)
    classes = tuple(sorted({crop[3] for crop in cut}))
    shard = write_shard(rows, classes)
    index = ManifestIndex(
        content_hash=content_hash(rows, task="classify", classes=classes),
        task="classify",
        classes=classes,
        project_uid="p0",
        read_sequence=1,
        shards=(ManifestShard("shard", _kept(shard, place), len(shard), len(rows)),),
    ).to_json()
    return BlobCache(place).path(_kept(index, place)), classes


def _kept(content: bytes, place: Path) -> str:
    cache, name = BlobCache(place), digest(content)
    part = cache.new_file(name)
    part.write_bytes(content)
    cache.keep(part, name)
    return name


def _row(crop: Crop, place: Path) -> ManifestRow:
    name, content, split, label = crop
    with Image.open(BytesIO(content)) as opened:
        width, height = opened.size
    return ManifestRow(
        asset=f"projects/cells/assets/{Path(name).stem.lower()}",
        digest=_kept(content, place),
        logical_key=name,
        size_bytes=len(content),
        media_type="image/png",
        width=width,
        height=height,
        split=split,
        group="",
        file_name=name,
        shapes=(Shape(Tag(), label),),
    )


def train(manifest: Path, classes: tuple[str, ...], place: Path, given: Mapping[str, Value]) -> Mapping[str, Any]:
    """Trains as a job does, but for its export. What came out, and how many seconds an epoch took."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    job = JobSpec(
        name="projects/p/jobs/j", uid="j", kind="TRAIN", attempt=1, recipe="classify-resnet", recipe_version="1",
        recipe_license="Apache-2.0", module="bloomery_recipe_timm.resnet", task="classify",
        parameters={**defaults(), **given, "export": "none", "sample_predictions": 0},
        classes=classes, manifest=str(manifest), base="scratch", bases=("resnet18", "scratch"),
        cache_dir=str(manifest.parents[1]), work_dir=str(place), cpus=1,
    )  # fmt: skip

    def take(note: Note) -> None:
        if isinstance(note, CheckpointNote):
            shutil.rmtree(note.folder)

    result = recipe.run(Context(job, take, threading.Event()))
    evaluation = json.loads((place / "published/evaluation.json").read_text(encoding="utf-8"))
    each = {one["class"]: one["recall"] for one in evaluation["evaluations"]["test"]["per_class"]}
    return {"metrics": dict(result.metrics), "recall": each, "imbalance": result.details["imbalance"]}


def defaults() -> dict[str, Value]:
    """Of all parameters of a training."""
    declared = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["parameters"]
    return {one["id"]: one["default"] for one in declared if "kinds" not in one and one["default"] is not None}


def main() -> None:
    """Does what standard input says."""
    given = json.load(sys.stdin)
    torch.set_num_threads(1)
    place = Path(given["place"])
    cut = list(crops(Path(given["folder"]), given["images"], given["side"]))
    for seed in given["seeds"]:
        # The same crops for every treatment, others for another seed.
        for name, most in given["cuts"].items():
            chosen = long_tailed(cut, most, seed)
            manifest, classes = lay_out(chosen, place / "cache")
            counts = Counter(crop[3] for crop in chosen if crop[2] == "train")
            for treatment, parameters in given["treatments"][name].items():
                began = time.monotonic()
                done = train(manifest, classes, place / "work", {**given["parameters"], **parameters, "seed": seed})
                told = {"cut": name, "seed": seed, "treatment": treatment, "counts": counts, **done}
                print(json.dumps({**told, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
