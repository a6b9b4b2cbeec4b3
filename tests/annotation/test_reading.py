"""Reading a whole project at one of its moments, and the findings about it."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery.annotation.v1 import (
    Asset,
    DeleteAssetRequest,
    GetProjectRequest,
    Project,
    StreamAnnotationSetsRequest,
    StreamProblemsRequest,
    StreamProblemsResponse,
    ValidateAnnotationsRequest,
    ValidateAnnotationsResponse,
)
from bloomery.vision.v1 import Shape
from bloomery_annotation.shapes import pack, pack_values, values
from bloomery_vision.geometry import Box, Mask, Polygon, Tag
from bloomery_vision.geometry import Shape as ShapeValue
from tests.annotation.helpers import Server, box, digest_of, fields_of, png, reason_of, status_of

Picture = dict[str, list[Shape] | None]
"""What a moment looks like: shapes by asset's name, None where there is no set."""


async def picture(server: Server, sequence: int = 0, after: str = "") -> tuple[int, Picture]:
    request = StreamAnnotationSetsRequest(parent="projects/p", read_sequence=sequence, after=after)
    found: Picture = {}
    seen = 0
    async for message in server.stub.StreamAnnotationSets(request):
        seen = message.read_sequence
        for item in message.items:
            has = item.HasField("annotation_set")
            found[item.asset.name] = list(item.annotation_set.shapes) if has else None
    assert list(found) == sorted(found)
    return seen, found


@dataclass
class Editor:
    """Makes random changes, and remembers what every moment should look like."""

    server: Server
    project: Project
    random: random.Random
    present: Picture = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    moments: dict[int, Picture] = field(default_factory=dict)

    async def change(self) -> None:
        choice = self.random.random()
        if not self.present or choice < 0.3:
            await self._add()
        elif choice < 0.4:
            await self._delete()
        else:
            await self._edit()
        newest = await self.server.stub.GetProject(GetProjectRequest(name=self.project.name))
        self.moments[newest.sequence] = dict(self.present)

    async def _add(self) -> None:
        made = (await self.server.assets(self.project, [png(self.random.randrange(30))]))[0]
        self.present.setdefault(made.name, None)

    async def _delete(self) -> None:
        name = self.random.choice(sorted(self.present))
        await self.server.stub.DeleteAsset(DeleteAssetRequest(name=name))
        del self.present[name]
        self.etags.pop(name, None)

    async def _edit(self) -> None:
        name = self.random.choice(sorted(self.present))
        shapes = [box("rbc", x=self.random.randrange(50)) for _ in range(self.random.randrange(4))]
        saved = await self.server.save(Asset(name=name), shapes, etag=self.etags.get(name, ""))
        self.present[name], self.etags[name] = shapes, saved.etag


@pytest.mark.parametrize("seed", range(3))
async def test_every_moment_stays_readable_while_edits_go_on(both: Server, seed: int) -> None:
    project = await both.project()
    await both.label("rbc")
    editor = Editor(both, project, random.Random(seed))

    async def read_often() -> None:
        while True:
            sequence, found = await picture(both)
            # Nothing has happened yet at 0, and asking for 0 means asking for now.
            assert not sequence or await picture(both, sequence) == (sequence, found)
            await asyncio.sleep(0)

    reader = asyncio.create_task(read_often())
    for _ in range(40):
        await editor.change()
    reader.cancel()
    assert isinstance((await asyncio.gather(reader, return_exceptions=True))[0], asyncio.CancelledError)
    for sequence, expected in editor.moments.items():
        assert await picture(both, sequence) == (sequence, dict(sorted(expected.items()))), sequence


async def test_a_stream_resumes_behind_the_last_asset_received(both: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_annotation.reading.CHUNK", 3)
    project = await both.project()
    await both.assets(project, [png(seed) for seed in range(10)])
    sequence, whole = await picture(both)
    await both.assets(project, [png(seed) for seed in range(20, 25)])
    names = list(whole)
    assert len(names) == 10
    after = names[4].rpartition("/")[2]
    assert await picture(both, sequence, after) == (sequence, dict.fromkeys(names[5:]))


async def test_an_empty_project_still_says_which_moment_was_read(server: Server, project: Project) -> None:
    messages = [m async for m in server.stub.StreamAnnotationSets(StreamAnnotationSetsRequest(parent=project.name))]
    assert [len(message.items) for message in messages] == [0]


async def test_the_future_cannot_be_read(server: Server, project: Project) -> None:
    async def read(**fields: object) -> None:
        request = StreamAnnotationSetsRequest(parent=project.name, **fields)  # type: ignore[arg-type]
        async for _ in server.stub.StreamAnnotationSets(request):
            pass

    assert reason_of(await status_of(read(read_sequence=1))) == "SEQUENCE_IN_FUTURE"
    bad = await status_of(read(read_sequence=-1, after="BAD", annotation_set="X"))
    assert fields_of(bad) == ["read_sequence", "after", "annotation_set"]


async def test_validation_finds_everything_by_stable_pages(server: Server, project: Project) -> None:
    await server.label("rbc")
    await server.label("unused")
    images = await server.assets(project, [png(seed) for seed in range(6)])
    tiny = box("rbc", width=1.5, height=5)
    await server.save(images[0], [box("rbc"), box("rbc"), tiny, box("rbc", width=1, height=1)])
    await server.save(images[1], [box("rbc", x=20, width=1, height=9)])
    await server.save(images[2], [])
    request = ValidateAnnotationsRequest(parent=project.name)
    whole: ValidateAnnotationsResponse = await server.stub.ValidateAnnotations(request)
    assert Counter(problem.code for problem in whole.problems) == {
        "DUPLICATE_SHAPE": 1, "TINY_SHAPE": 2, "ONE_PIXEL": 1, "UNANNOTATED_IMAGE": 3,
        "UNUSED_LABEL": 1,
    }  # fmt: skip
    assert (whole.error_count, whole.warning_count, whole.asset_count) == (0, 8, 6)
    assert whole.problems[-1].item == "projects/p/labels/unused"
    paged = []
    request.page_size = 2
    while True:
        page = await server.stub.ValidateAnnotations(request)
        assert len(page.problems) == 2
        paged += page.problems
        # Later edits are not seen by the pages that follow.
        await server.assets(project, [png(100 + len(paged))])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert paged == list(whole.problems)


async def problems_of(server: Server, **fields: object) -> list[StreamProblemsResponse]:
    request = StreamProblemsRequest(parent="projects/p", **fields)  # type: ignore[arg-type]
    return [message async for message in server.stub.StreamProblems(request)]


async def test_a_stream_of_problems_finds_what_pages_find(both: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bloomery_annotation.reading.CHUNK", 2)
    monkeypatch.setattr("bloomery_annotation.validate.CHUNK", 2)
    monkeypatch.setattr("bloomery_annotation.validate._PART", 3)
    project = await both.project()
    await both.label("rbc")
    await both.label("unused")
    images = await both.assets(project, [png(seed) for seed in range(7)])
    await both.save(images[0], [box("rbc")] * 5)
    for image in images[1:4]:
        await both.save(image, [])
    whole = await both.stub.ValidateAnnotations(ValidateAnnotationsRequest(parent=project.name))
    parts = await problems_of(both)
    assert [problem for part in parts for problem in part.problems] == list(whole.problems)
    assert (parts[-1].asset_count, parts[-1].error_count, parts[-1].warning_count) == (7, 0, whole.warning_count)
    assert len(parts) >= 4, "a message comes also where nothing is wrong"
    assert max(len(part.problems) for part in parts) <= 3
    sequence, found = parts[0].read_sequence, list(whole.problems)
    await both.save(images[4], [box("rbc")] * 9)
    left = found
    for part in parts:
        left = left[len(part.problems) :]
        rest = [
            problem
            for later in await problems_of(both, read_sequence=sequence, after=part.after)
            for problem in later.problems
        ]
        assert rest[len(rest) - len(left) :] == left
        assert all(problem in found for problem in rest)


async def test_a_project_too_large_for_one_call_is_said_at_once(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.validate.MOST_IMAGES", 2)
    await server.assets(project, [png(seed) for seed in range(3)])
    status = await status_of(server.stub.ValidateAnnotations(ValidateAnnotationsRequest(parent=project.name)))
    assert reason_of(status) == "PROJECT_TOO_LARGE"
    assert (await problems_of(server))[-1].asset_count == 3


COORDINATES = st.floats(0, 500, width=32)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=3, max_size=6).map(tuple)
GEOMETRIES = st.one_of(
    st.builds(Box, COORDINATES, COORDINATES, COORDINATES, COORDINATES),
    st.builds(Polygon, POINTS, st.lists(POINTS, max_size=2).map(tuple)),
    st.builds(lambda runs: Mask.from_runs(sum(runs), 1, runs), st.lists(st.integers(1, 9), min_size=1, max_size=5)),
    st.just(Tag()),
)
SHAPES = st.builds(
    ShapeValue,
    GEOMETRIES,
    st.sampled_from(["rbc", "wbc"]),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.booleans(),
    st.none() | st.integers(1, 1 << 40),
    st.none() | st.integers(1, 1 << 40),
)


@given(st.lists(SHAPES, max_size=6))
@settings(max_examples=100)
def test_shapes_survive_their_stored_form(shapes: list[ShapeValue]) -> None:
    stored = pack_values(shapes, lambda label: label)
    assert list(values(stored.blob)) == shapes
    assert stored.counts == Counter(shape.label for shape in shapes)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=5), st.randoms())
def test_equal_shapes_are_equal_bytes(attributes: dict[str, str], order: random.Random) -> None:
    pairs = list(attributes.items())
    order.shuffle(pairs)
    first, second = (pack([Shape(label="a", attributes=dict(one))]) for one in (attributes, pairs))
    assert first == second


def test_digests_make_ids_that_are_ids() -> None:
    from bloomery_annotation.names import asset_id
    from bloomery_kit.errors import Violations
    from bloomery_kit.names import validate_id

    violations = Violations()
    for content in (b"", b"a", b"b"):
        validate_id(asset_id(digest_of(content)), "id", violations)
    assert not violations
