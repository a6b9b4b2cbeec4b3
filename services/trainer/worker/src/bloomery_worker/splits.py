"""Which images of the dataset version a job works on: its parameter `split`."""

from collections.abc import Iterator

from bloomery_vision.manifest import ManifestRow
from bloomery_worker.context import Context
from bloomery_worker.failures import DataError

ALL = "all"


def split_of(context: Context) -> str:
    """The split that the job names: "train", "val", "test" or "all"; "all" for images of no dataset version."""
    job = context.job
    return ALL if job.project_images or job.archives else str(context.parameters["split"])


def count_of(context: Context) -> int:
    """How many images it has."""
    counts, split = context.dataset.counts, split_of(context)
    return sum(counts.values()) if split == ALL else counts[split]


def rows_of(context: Context) -> Iterator[ManifestRow]:
    """Its images in the order of file names. Raises DataError."""
    split = split_of(context)
    return context.dataset.rows(None if split == ALL else split)


def check_split(context: Context) -> None:
    """Raises DataError for a split without images."""
    if count_of(context):
        return
    there = ", ".join(f"{count} in {split}" for split, count in context.dataset.counts.items())
    message = f"the dataset version has no images in the split {split_of(context)}; it has {there}"
    raise DataError(message, hint="choose another split, or all")
