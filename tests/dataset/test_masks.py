"""Masks of any form are the same pixels in a project, in a version's manifest and in its COCO export."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from bloomery_dataset.model import Image, Label, Method, Spec, SplitPolicy, Task
from bloomery_dataset.selection import Selection
from bloomery_vision.formats import ExportRow, LabelSpec
from bloomery_vision.formats.write_coco import write_coco
from bloomery_vision.geometry import Mask, Shape
from bloomery_vision.manifest import ManifestRow, read_shard, write_shard

WIDTH, HEIGHT = 13, 9
PIXELS = arrays(np.bool_, (HEIGHT, WIDTH)).filter(np.any)
MASKS = st.lists(st.tuples(PIXELS, st.booleans()), min_size=1, max_size=5)


# pycocotools' own `decode` uses what numpy has deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@settings(max_examples=50)
@given(MASKS)
def test_every_pixel_of_a_mask_and_every_crowd_flag_is_kept(masks: Sequence[tuple[NDArray[np.bool_], bool]]) -> None:
    labelled = tuple(Shape(Mask.from_array(pixels), "a", crowd=crowd) for pixels, crowd in masks)
    written = exported(in_manifest(selected(labelled)))
    assert len(written) == len(masks)
    for record, (pixels, crowd) in zip(written, masks, strict=True):
        assert record["iscrowd"] == crowd
        assert record["area"] == pixels.sum()
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        assert record["bbox"] == [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        decoded = coco_mask.decode(record["segmentation"]).astype(np.bool_)
        assert (decoded == pixels).all()


def selected(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """What a version for segmentation keeps of an image."""
    spec = Spec("cells", Task.SEGMENT, SplitPolicy(Method.OFFICIAL), {}, include_empty=True)
    image = Image(
        asset="projects/cells/assets/a",
        digest="sha256:0",
        size_bytes=1,
        media_type="image/png",
        width=WIDTH,
        height=HEIGHT,
        display_name="a.png",
        official="train",
        labels={},
        sequence=1,
        shapes=shapes,
    )
    kept = Selection(spec, (Label("a", "A"),)).take(image)
    assert kept is not None
    return kept.shapes


def in_manifest(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Shapes as a shard of a manifest gives them back."""
    row = ManifestRow("a", "sha256:0", "k", 1, "image/png", WIDTH, HEIGHT, "train", "", "a.png", shapes)
    (again,) = read_shard(write_shard([row], ["A"]), ["A"])
    return again.shapes


def exported(shapes: tuple[Shape, ...]) -> list[dict[str, Any]]:
    """The annotations of a COCO file with these shapes on one image."""
    chunks = write_coco([ExportRow("a.png", WIDTH, HEIGHT, "train", shapes)], [LabelSpec("A", "")])
    annotations: list[dict[str, Any]] = json.loads(b"".join(chunk.data for chunk in chunks))["annotations"]
    return annotations
