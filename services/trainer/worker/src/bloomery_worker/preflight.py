"""What is looked at before a job begins: above all what a dataset version must have before anybody trains on it."""

from collections import Counter

from bloomery_vision.images import ImageError, probe
from bloomery_worker.augmenting import policy_of
from bloomery_worker.context import Context
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import DataError
from bloomery_worker.splits import check_split
from bloomery_worker.variants import Plan

_SHARE = "build a version with another split, such as 80/20/0"


def look(context: Context) -> None:
    """Looks at what a job works on before it begins. Raises DataError, ConfigError."""
    if context.job.kind == "TRAIN":
        policy_of(context.parameters)
        check_dataset(context)
    if context.job.kind in ("EVALUATE", "PREDICT"):
        check_split(context)
    if context.job.kind == "OPTIMIZE":
        Plan.of(context)


def check_dataset(context: Context) -> None:
    """Looks at splits, labels and the heads of all images; what a resumed attempt knows already is left out.

    Raises:
        DataError: the version cannot be trained on; names the images that cannot be read.
    """
    dataset = context.dataset
    for split, purpose in (("train", "to train on"), ("val", "to choose the best epoch by")):
        if not dataset.counts[split]:
            raise DataError(f"the dataset version has no images {purpose} (split {split})", hint=_SHARE)
    if not context.job.resume_epoch:
        _check_labels(context)
        _check_images(dataset)


def _check_labels(context: Context) -> None:
    found = Counter(shape.label for row in context.dataset.rows("train") for shape in row.shapes if not shape.crowd)
    missing = [name for name in context.job.classes if not found[name]]
    if len(missing) == len(context.job.classes):
        raise DataError("no training image has a label", hint="annotate images and build a new version", items=missing)
    if missing:
        context.log.warning("the model cannot learn %s: no training image has one", ", ".join(missing))


def _check_images(dataset: Dataset) -> None:
    problems = []
    for row in dataset.rows():
        try:
            probe(dataset.image_file(row), verify=False)
        except (ImageError, OSError) as problem:
            problems.append(f"{row.file_name} ({problem})")
    if problems:
        hint = "replace or delete these images, and build a new version"
        raise DataError(f"{len(problems)} images cannot be read", hint=hint, items=problems)
