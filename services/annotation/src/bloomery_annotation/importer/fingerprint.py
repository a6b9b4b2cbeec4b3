"""Whether two replicas, or one before and after a change of version, read a folder alike."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict

from bloomery_vision.formats import Plan

READING = 3
"""To be raised with every change by which readers find other entries, or other things in them, by the same plan."""


def fingerprint(plan: Plan) -> str:
    """What decides which image stands at which place, and what is read of it, in short."""
    digest = hashlib.sha256(json.dumps(_small(plan)).encode())
    for lines in (
        plan.images,
        plan.label_files,
        plan.unplaced,
        (f"{image}\0{label}" for image, label in plan.label_of.items()),
        ("\0".join((image, *labels)) for image, labels in plan.more_labels.items()),
        (f"{image}\0{split}" for image, split in plan.splits.items()),
    ):
        _add(digest, lines)
    return digest.hexdigest()


def _small(plan: Plan) -> object:
    lists = [sorted(one.names.items()) for one in plan.class_lists]
    labels = [asdict(label) for label in plan.labels]
    rows = asdict(plan.rows)
    return [READING, plan.format, plan.pixel_origin, rows, lists, sorted(plan.class_list_of.items()), labels]


def _add(digest: "hashlib._Hash", lines: Iterable[str]) -> None:
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    digest.update(b"\0\n")
