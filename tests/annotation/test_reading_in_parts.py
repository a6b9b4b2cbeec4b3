"""An import's entries are the same wherever reading begins, and whatever part of them is read first."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery_annotation.contents import Contents
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.ordered import Ordered
from bloomery_annotation.importer.parsing import Entry, Parser
from bloomery_annotation.importer.source import BlobSource
from bloomery_annotation.model import Blob
from bloomery_kit.errors import Unavailable
from bloomery_vision.formats import Format
from tests.annotation.folders import voc
from tests.annotation.helpers import digest_of

LABELS = [voc("", ("cell", 1, 1, 10, 10)), voc("", ("cell", 5, 5, 9, 9)), voc(""), b"<annotation>"]
"""Two that differ, one without objects, and one that cannot be read."""

images = st.lists(st.tuples(st.integers(0, 2), st.none() | st.sampled_from(LABELS)), max_size=7)
"""The bytes of each image, by number, and what its label file says, if it has one."""


def folder(drawn: Sequence[tuple[int, bytes | None]], unplaced: int) -> dict[str, bytes]:
    files = {f"{number}.png": b"pixels %d" % content for number, (content, _) in enumerate(drawn)}
    files |= {f"{number}.xml": label for number, (_, label) in enumerate(drawn) if label is not None}
    return files | {f"lost{number}.xml": LABELS[0] for number in range(unplaced)}


class Uploaded(Contents):
    """What somebody uploaded, in memory."""

    def __init__(self, contents: Iterable[bytes]) -> None:
        self._contents = {digest_of(content): content for content in contents}

    async def get_all(self, project_uid: str, digests: Collection[str]) -> Mapping[str, bytes]:
        return {digest: self._contents[digest] for digest in digests}


@asynccontextmanager
async def reading(contents: Mapping[str, bytes], kind: Format = Format.VOC) -> AsyncIterator[tuple[Parser, range]]:
    """What one replica reads a folder with, and the places of its images."""
    uploaded = Uploaded(contents.values())
    with tempfile.TemporaryDirectory() as scratch, Files(Path(scratch)) as files:
        files.add((path, blob(path, content)) for path, content in contents.items())
        loop = asyncio.get_running_loop()
        source = BlobSource(files, contents=uploaded, project_uid="u", folder=Path(scratch), loop=loop)
        async with Parser(source, kind, files) as parser:
            yield parser, await parser.start(await parser.plan())


def blob(path: str, content: bytes) -> Blob:
    size = (64, 48) if path.endswith(".png") else (0, 0)
    return Blob(digest_of(content), len(content), "image/png" if any(size) else "", *size)


@settings(max_examples=40, deadline=None)
@given(drawn=images, unplaced=st.integers(0, 2), size=st.integers(1, 4), chosen=st.randoms())
def test_parts_read_in_any_order_are_what_is_read_in_one_go(
    drawn: list[tuple[int, bytes | None]], unplaced: int, size: int, chosen: Random
) -> None:
    files = folder(drawn, unplaced)

    async def both() -> tuple[list[Entry], dict[int, Entry], int]:
        async with reading(files) as (parser, _):
            whole = await parser.take(0, 99)
        async with reading(files) as (parser, places):
            starts = [*places[::size]]
            chosen.shuffle(starts)
            found = dict[int, Entry]()
            for start in starts:
                part = await parser.take(start, min(size, places.stop - start))
                found |= dict(enumerate(part, start))
            found |= dict(enumerate(await parser.take(places.stop, 99), places.stop))
        return whole, found, len(places)

    whole, found, count = asyncio.run(both())
    assert [found[place] for place in sorted(found)] == whole
    assert (count, len(whole)) == (len(drawn), len(drawn) + unplaced)


@pytest.mark.parametrize("first", [1, 3])
def test_a_reader_that_broke_off_says_so_again(first: int) -> None:
    def read(wanted: Iterator[str]) -> Generator[str]:
        for image in wanted:
            if image == "c":
                raise Unavailable("OBJECT_STORE_UNAVAILABLE", "away")
            yield image
        yield "a label file without an image"

    ordered = Ordered(["a", "b", "c"], read, lambda _image: ())
    for place in (2, first):
        with pytest.raises(Unavailable):
            list(ordered.since(place))


async def test_what_stands_before_and_behind_the_images_has_places_too() -> None:
    files = {"a.png": b"a", "b.png": b"b", "good.json": coco("a.png", "gone.png"), "torn.json": coco("b.png")[:-9]}
    found = []
    for start in range(5):
        async with reading(files, Format.COCO) as (parser, places):
            found.append([entry.item.image_path for entry in await parser.take(start, 9)])
            assert places == range(1, 3)
    assert found[0] == ["torn.json", "a.png", "b.png", "gone.png"]
    assert found == [found[0][start:] for start in range(5)]


def coco(*names: str) -> bytes:
    records = [{"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)]
    objects = [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5]} for number in range(len(names))
    ]
    content = {"images": records, "annotations": objects, "categories": [{"id": 1, "name": "cell"}]}
    return json.dumps(content).encode()
