"""Builds of many images: the same versions as ever, in bounded memory."""

import sqlite3
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bloomery_dataset.build import divide
from bloomery_dataset.builder import failure_of
from bloomery_dataset.model import Method, SplitPolicy
from bloomery_dataset.selection import Kept
from bloomery_dataset.spill import Spill
from bloomery_dataset.splits import place
from real_parts.disk import Filler
from tests.dataset.many import RATIO, build, made_up


@pytest.mark.parametrize(
    ("policy", "content_hash"),
    [
        (RATIO, "02586372c6d44c06a7f6bdce8ee1f654d5c6819f07e40674e84b8a7a3283deb3"),
        (replace(RATIO, group_by="patient"), "770030e289e9e1c4b31cc99dfddb66caff8e63c97d2607a679ad2e04f505cdb5"),
        (SplitPolicy(Method.OFFICIAL), "8f9ccf4c76300e7624e3468fdcb1ff25f80d4e0e6595bd7e7533930cfced7755"),
    ],
)
async def test_equal_images_make_equal_versions_in_every_release(
    tmp_path: Path, policy: SplitPolicy, content_hash: str
) -> None:
    """Names, parts and order of 3,000 images, of which two each have one name."""
    assert (await build(3000, tmp_path, policy)).content_hash == f"sha256:{content_hash}"


def test_memory_of_a_build_hardly_grows_with_its_images(tmp_path: Path) -> None:
    """Reading, dividing and naming are what has to know all images."""
    fewer, more = (peak(count, tmp_path / str(count)) for count in (1000, 5000))
    assert (more - fewer) / 4000 < 100, "bytes an image"


def peak(count: int, path: Path) -> int:
    """The most bytes of Python objects at once."""
    tracemalloc.start()
    try:
        with Spill(path) as spill:
            for image in made_up(count):
                kept = Kept(image.shapes or (), Counter(shape.label for shape in image.shapes or ()))
                spill.add(image, kept, group="", place=place(image.digest, "", seed=1))
            divide(spill, RATIO)
            for _, number in spill.named():
                spill.read(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_disk_too_small_for_a_build_is_told(small_disk: Path, filler: Filler) -> None:
    filler.fill()
    with pytest.raises(sqlite3.OperationalError) as caught:
        await build(3000, small_disk)
    assert failure_of(caught.value).reason == "DISK_FULL"
