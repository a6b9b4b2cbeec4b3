"""Builds of many images: the same versions as ever, in bounded memory."""

import gc
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
        (RATIO, "1cc10650c8566d97dd294a2041b448281cbe34216bdd5763eac1dd8a57ec36ce"),
        (replace(RATIO, group_by="patient"), "9b01dcf818bffc7073f95f21a42f7821951d8317c4afa20c0c9f13d84b75ce4b"),
        (SplitPolicy(Method.OFFICIAL), "f476a4ddd94574a6897be015174d680ddfa12768353fc5700ecb40d49737837b"),
    ],
)
async def test_equal_images_make_equal_versions_in_every_release(
    tmp_path: Path, policy: SplitPolicy, content_hash: str
) -> None:
    """Names, parts and order of 3,000 images, of which two each have one name."""
    assert (await build(3000, tmp_path, policy)).content_hash == f"sha256:{content_hash}"


def test_memory_of_a_build_hardly_grows_with_its_images(tmp_path: Path) -> None:
    """Reading, dividing and naming are what has to know all images."""
    fewer, more = (peak(count, tmp_path / str(count)) for count in (5000, 10000))
    assert (more - fewer) / 5000 < 100, "bytes an image"


def peak(count: int, path: Path) -> int:
    """The most bytes of Python objects at once."""
    # What earlier tests left behind makes the collector of cycles come late, and those of the build with it.
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        with Spill(path) as spill:
            for image in made_up(count):
                kept = Kept(image.shapes or (), Counter(shape.label for shape in image.shapes or ()))
                spill.add(image, kept, group="", place=place(image.digest, "", seed=1))
            for _, number in spill.named(divide(spill, RATIO)):
                spill.read(number)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.unfreeze()


async def test_a_disk_too_small_for_a_build_is_told(small_disk: Path, filler: Filler) -> None:
    filler.fill()
    with pytest.raises(sqlite3.OperationalError) as caught:
        await build(3000, small_disk)
    assert failure_of(caught.value).reason == "DISK_FULL"
