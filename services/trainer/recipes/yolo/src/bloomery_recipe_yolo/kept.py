"""What the library's loaders have kept of the images that they were given: they leave some out without a word."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bloomery_recipe_yolo.exact import ExactTrainer
from bloomery_recipe_yolo.library import img2label_paths, verify_image_label
from bloomery_worker.context import Context
from bloomery_worker.failures import DataError
from bloomery_worker.layout import Item, Laid

Kept = Callable[[Any, Path], Mapping[str, int]]
"""How many shapes a loader's dataset has kept of each image, by the paths that `Laid.given` has."""

Select = Callable[[list[str], float], list[str]]
"""Which of the paths, in their order, a loader takes for a fraction of the training images."""

_MEND = "mend these images or their shapes, and build a new version"
_IGNORED = "ignoring corrupt image/label: "


def shapes_of_labels(dataset: Any, root: Path) -> Mapping[str, int]:
    """Of a detector's or a segmenter's dataset."""
    images = [one["im_file"] for one in dataset.labels]
    pairs = zip(img2label_paths(images), dataset.labels, strict=True)
    return {Path(path).relative_to(root).as_posix(): len(one["cls"]) for path, one in pairs}


def tags_of_folders(dataset: Any, root: Path) -> Mapping[str, int]:
    """Of a classifier's dataset."""
    return {Path(sample[0]).relative_to(root).as_posix(): 1 for sample in dataset.samples}


def first_ones(paths: list[str], fraction: float) -> list[str]:
    """As datasets of labels are cut."""
    return paths[: max(1, round(len(paths) * fraction))]


def spread_ones(paths: list[str], fraction: float) -> list[str]:
    """As datasets of folders are cut."""
    count = max(int(fraction > 0), round(len(paths) * fraction))
    return [paths[index] for index in np.linspace(0, len(paths) - 1, count, dtype=int)]


def chosen(context: Context, laid: Laid, select: Select) -> dict[str, list[str]]:
    """The paths of the images of each split that a training takes, as `Laid.given` has them."""
    fractions = {"train": float(context.parameters.get("fraction", 1)), "val": 1.0}
    return {split: select(_of_split(laid, split), fraction) for split, fraction in fractions.items()}


def check(context: Context, trainer: ExactTrainer, laid: Laid, kept: Kept, select: Select) -> None:
    """Compares images and shapes with what was laid out.

    Raises:
        DataError: something is missing; names the images, and why the library dislikes them.
    """
    loaders = {"train": trainer.train_loader, "val": trainer.test_loader}
    found = {path: count for loader in loaders.values() for path, count in kept(loader.dataset, laid.root).items()}
    wanted = [path for paths in chosen(context, laid, select).values() for path in paths]
    if missing := [path for path in wanted if found.get(path, -1) < laid.given[path].shapes]:
        message = f"{len(missing)} of {len(wanted)} images cannot be trained on as they are"
        items = list(_explained(laid, missing, found, len(context.job.classes)))
        raise DataError(message, hint=_MEND, items=items)


def check_ignored(problem: RuntimeError) -> None:
    """Raises DataError where the library gave up because it dislikes all images of a split."""
    found = [line.partition(f": {_IGNORED}") for line in str(problem).splitlines() if _IGNORED in line]
    if found:
        items = [f"{Path(image).name} ({said})" for image, _, said in found]
        raise DataError("all images of a split cannot be trained on as they are", hint=_MEND, items=items) from problem


def _of_split(laid: Laid, split: str) -> list[str]:
    return sorted(path for path in laid.given if split in path.split("/")[:2])


def _explained(laid: Laid, missing: list[str], found: Mapping[str, int], classes: int) -> Iterator[str]:
    for path in missing:
        item = laid.given[path]
        if path in found:
            yield f"{item.file_name} ({found[path]} of {item.shapes} shapes)"
        else:
            yield f"{item.file_name} ({_dislike(laid.root, path, item, classes)})"


def _dislike(root: Path, path: str, item: Item, classes: int) -> str:
    """What the library says about an image."""
    folder, split, *_ = path.split("/")
    image = root / "images" / split / item.file_name if folder == "labels" else root / path
    *_, said = verify_image_label((str(image), str(root / path), "", False, classes, 0, 0, False))
    return str(said).partition(_IGNORED)[2] or "its name or format is not one that the library takes for an image"
