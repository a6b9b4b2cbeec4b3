"""Rules that saving and listing annotations keep, whatever is saved."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.annotation.v1 import (
    GetAssetRequest,
    ListAnnotationSetsRequest,
    ListAssetsRequest,
    StreamAnnotationSetsRequest,
)
from bloomery.vision.v1 import Box, Shape
from tests.annotation.helpers import Server, png

LABELS = ("rbc", "wbc", "platelets")
EXAMPLES = settings(max_examples=100, deadline=None, database=None)
SIDES = st.floats(1, 20, width=32)
BOXES = st.builds(Box, x=st.floats(0, 40, width=32), y=st.floats(0, 25, width=32), width=SIDES, height=SIDES)
SHAPES = st.builds(
    Shape,
    box=BOXES,
    label=st.sampled_from(LABELS),
    attributes=st.dictionaries(st.sampled_from(["pose", "blur"]), st.text("abc", max_size=3), max_size=2),
)


async def in_loop(check: Callable[[Callable[[Coroutine[Any, Any, None]], None]], None]) -> None:
    """Let `check`, which draws examples, give the work of each to this loop."""
    loop = asyncio.get_running_loop()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    await asyncio.to_thread(check, run)


async def test_saving_keeps_all_of_it_and_listings_tell_it(server: Server) -> None:
    # Property 4: saving keeps boxes, labels and image, and of a frame its time and number.
    # Property 5: an image may have several boxes of several classes.
    # Property 8: listings carry time, labels and count.
    project, numbers = await server.project(), count(1)
    for label in LABELS:
        await server.label(label)
    (film,) = await server.assets(project, [png(0)])

    async def keeps(shapes: list[Shape], milliseconds: int, frame: int) -> None:
        time = Duration()
        time.FromMilliseconds(milliseconds)
        saved = next(numbers)
        (asset,) = await server.assets(
            project, [png(saved)], parent=film.name, timestamp=time, labels={"frame": str(frame)}
        )
        answer = await server.save(asset, shapes)
        listed = await server.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent=asset.name))
        (found,) = listed.annotation_sets
        assert list(found.shapes) == shapes
        assert {shape.label for shape in found.shapes} == {shape.label for shape in shapes}
        assert found.name.startswith(f"{asset.name}/")
        assert found.update_time == answer.update_time
        assets = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, page_size=1))
        assert assets.total_size == saved + 1
        kept = await server.stub.GetAsset(GetAssetRequest(name=asset.name))
        assert (kept.digest, kept.parent, kept.timestamp) == (asset.digest, film.name, time)
        assert dict(kept.labels) == {"frame": str(frame)}

    def check(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        @EXAMPLES
        @given(st.lists(SHAPES, min_size=1, max_size=8), st.integers(0, 10**7), st.integers(0, 10**6))
        def examples(shapes: list[Shape], milliseconds: int, frame: int) -> None:
            run(keeps(shapes, milliseconds, frame))

        examples()

    await in_loop(check)


async def test_what_is_deleted_is_in_no_listing_and_in_no_dataset(server: Server) -> None:
    # Property 7: a deleted annotation leaves listings and what datasets read.
    project = await server.project()
    for label in LABELS:
        await server.label(label)
    (asset,) = await server.assets(project, [png(1)])
    etag = ""

    async def leaves(shapes: list[Shape], deleted: int) -> None:
        nonlocal etag
        etag = (await server.save(asset, shapes, etag=etag)).etag
        left = [shape for number, shape in enumerate(shapes) if number != deleted % len(shapes)]
        etag = (await server.save(asset, left, etag=etag)).etag
        listed = await server.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent=asset.name))
        assert [list(one.shapes) for one in listed.annotation_sets] == [left]
        streamed = server.stub.StreamAnnotationSets(StreamAnnotationSetsRequest(parent=project.name))
        read = [item async for page in streamed for item in page.items]
        assert [list(item.annotation_set.shapes) for item in read] == [left]

    def check(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        @EXAMPLES
        @given(st.lists(SHAPES, min_size=1, max_size=5), st.integers(0, 4))
        def examples(shapes: list[Shape], deleted: int) -> None:
            run(leaves(shapes, deleted))

        examples()

    await in_loop(check)
