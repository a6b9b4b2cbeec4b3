"""Saving shapes: revisions, conflicts, checks and history."""

import asyncio
import math
from typing import Any

import grpc
import pytest

from bloomery.annotation.v1 import (
    AnnotationSet,
    Asset,
    BatchUpdateAnnotationSetsRequest,
    GetAnnotationSetRequest,
    GetLabelRequest,
    ListAnnotationSetsRequest,
    ListRevisionsRequest,
    Project,
    UpdateAnnotationSetRequest,
)
from bloomery.common.v1 import Problem
from bloomery.vision.v1 import Box, Mask, Polygon, Provenance, Ring, Shape, Tag
from bloomery_vision.geometry import Mask as MaskValue
from tests.annotation.helpers import Server, box, fields_of, png, reason_of, status_of


@pytest.fixture
async def asset(both: Server) -> Asset:
    """An image of 64 x 48 pixels in a project with the labels rbc and wbc."""
    project = await both.project()
    await both.label("rbc")
    await both.label("wbc")
    return (await both.assets(project, [png(1)]))[0]


def request(asset: Asset, *shapes: Shape, set_id: str = "main", **fields: Any) -> UpdateAnnotationSetRequest:
    """A first save, unless `fields` has an etag."""
    name = f"{asset.name}/annotationSets/{set_id}"
    return UpdateAnnotationSetRequest(
        annotation_set=AnnotationSet(name=name, shapes=shapes, **fields), allow_missing="etag" not in fields
    )


async def count_of(server: Server, label_id: str) -> int:
    label = await server.stub.GetLabel(GetLabelRequest(name=f"projects/p/labels/{label_id}"))
    return int(label.shape_count)


async def test_all_kinds_of_shapes_come_back_as_they_were_saved(both: Server, asset: Asset) -> None:
    mask = MaskValue.from_runs(64, 48, [5, 10, 64 * 48 - 15])
    ring = Ring(coordinates=[1, 1, 20, 1, 10, 15.5])
    shapes = [
        Shape(label="rbc", mask=Mask(width=64, height=48, counts=mask.counts), confidence=0.5),
        Shape(label="wbc", polygon=Polygon(rings=[ring, Ring(coordinates=[30, 30, 40, 30, 40, 40])]), crowd=True),
        Shape(label="wbc", tag=Tag(), attributes={"truncated": "1", "pose": "left"}),
        Shape(label="rbc", box=box("rbc").box, group_id=3, track_id=4),
    ]
    saved = await both.stub.UpdateAnnotationSet(request(asset, *shapes))
    assert list(saved.shapes) == shapes
    assert (saved.revision, saved.author, saved.provenance.source) == (1, "owner", Provenance.SOURCE_HUMAN)
    assert saved.sequence == asset.sequence + 1
    assert await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=saved.name)) == saved
    assert (await count_of(both, "rbc"), await count_of(both, "wbc")) == (2, 2)


async def test_an_edit_makes_a_revision_and_keeps_the_counts_right(both: Server, asset: Asset) -> None:
    first = await both.save(asset, [box("rbc"), box("rbc", x=30)])
    second = await both.save(asset, [box("wbc")], etag=first.etag)
    assert (second.revision, second.create_time) == (2, first.create_time)
    assert (await count_of(both, "rbc"), await count_of(both, "wbc")) == (0, 1)
    history = await both.stub.ListRevisions(ListRevisionsRequest(parent=first.name, page_size=1))
    older = await both.stub.ListRevisions(
        ListRevisionsRequest(parent=first.name, page_size=1, page_token=history.next_page_token)
    )
    assert [history.revisions[0].annotation_set, older.revisions[0].annotation_set] == [second, first]
    assert older.next_page_token == ""
    past = GetAnnotationSetRequest(name=first.name, revision=3)
    assert reason_of(await status_of(both.stub.GetAnnotationSet(past))) == "NOT_FOUND"


async def test_the_same_shapes_make_no_revision(both: Server, asset: Asset) -> None:
    first = await both.save(asset, [Shape(label="rbc", tag=Tag(), attributes={"a": "1", "b": "2"})])
    same = Shape(label="rbc", tag=Tag(), attributes={"b": "2", "a": "1"})
    assert await both.save(asset, [same], etag=first.etag) == first
    second = await both.save(asset, [box("rbc")], etag=first.etag)
    # A client that never got the answer sends its save again.
    assert await both.save(asset, [box("rbc")], etag=first.etag) == second


async def test_a_set_that_exists_needs_its_etag(both: Server, asset: Asset) -> None:
    first = await both.save(asset, [box("rbc")])
    without = await status_of(both.save(asset, [box("wbc")]))
    assert (reason_of(without), fields_of(without)) == ("ETAG_REQUIRED", ["annotation_set.etag"])
    stale = await status_of(both.save(asset, [box("wbc")], etag='"old"'))
    assert reason_of(stale) == "ETAG_MISMATCH"
    now = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=first.name))
    assert now == first


async def test_a_first_save_must_be_allowed(both: Server, asset: Asset) -> None:
    wanted = request(asset, box("rbc"), etag="")
    assert reason_of(await status_of(both.stub.UpdateAnnotationSet(wanted))) == "NOT_FOUND"
    wanted.annotation_set.etag = '"of a set that is gone"'
    assert reason_of(await status_of(both.stub.UpdateAnnotationSet(wanted))) == "ETAG_MISMATCH"


async def test_of_many_savers_at_once_one_wins_and_the_others_hear_of_it(both: Server, asset: Asset) -> None:
    first = await both.save(asset, [])

    async def save(number: int) -> str:
        async with both.as_user(f"ANNOTATOR:user{number}") as user:
            try:
                await user.UpdateAnnotationSet(request(asset, box("rbc", x=number), etag=first.etag))
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return "saved"

    outcomes = await asyncio.gather(*(save(number) for number in range(1, 7)))
    assert sorted(outcomes) == ["ABORTED"] * 5 + ["saved"]
    winner = outcomes.index("saved") + 1
    now = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=first.name))
    assert (now.revision, now.author, now.shapes[0].box.x) == (2, f"user{winner}", winner)
    assert await count_of(both, "rbc") == 1


async def test_everything_wrong_with_the_shapes_is_said_at_once(both: Server, asset: Asset) -> None:
    bad = [
        box("rbc", x=1000),
        box("unknown"),
        Shape(label="rbc"),
        box("rbc", width=0),
        box("rbc", width=math.nan),
        Shape(label="rbc", polygon=Polygon(rings=[Ring(coordinates=[1, 2, 3])])),
        Shape(label="rbc", polygon=Polygon()),
        Shape(label="rbc", mask=Mask(width=1, height=1, counts=b"1")),
        Shape(label="rbc", tag=Tag(), confidence=2, group_id=-1),
        box("wbc"),
    ]
    status = await status_of(both.stub.UpdateAnnotationSet(request(asset, *bad)))
    suffixes = [field.removeprefix("annotation_set.") for field in fields_of(status)]
    assert suffixes == [
        "shapes[0]", "shapes[1].label", "shapes[2]", "shapes[3]", "shapes[4]", "shapes[5]", "shapes[6]", "shapes[7]",
        "shapes[8].confidence", "shapes[8]",
    ]  # fmt: skip
    assert "rbc, wbc" in status.message


async def test_what_sticks_out_is_cut_off_and_said(both: Server, asset: Asset) -> None:
    crossing = Shape(label="wbc", polygon=Polygon(rings=[Ring(coordinates=[60, 40, 70, 40, 70, 60, 60, 60])]))
    rounding = Shape(label="rbc", box=Box(x=-0.25, y=1, width=4, height=4), confidence=0.5)
    shapes = [box("rbc"), box("rbc", x=60, width=10), crossing, rounding]
    saved = await both.stub.UpdateAnnotationSet(request(asset, *shapes))
    assert [(one.code, one.path, one.item, one.severity) for one in saved.problems] == [
        ("PARTLY_OUTSIDE", f"shapes[{number}]", saved.name, Problem.SEVERITY_WARNING) for number in (1, 2)
    ]
    assert saved.shapes[0] == shapes[0]
    assert saved.shapes[1] == box("rbc", x=60, width=4)
    assert set(saved.shapes[2].polygon.rings[0].coordinates) == {60, 64, 40, 48}
    assert saved.shapes[3] == Shape(label="rbc", box=Box(x=0, y=1, width=3.75, height=4), confidence=0.5)
    stored = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=saved.name))
    assert list(stored.shapes) == list(saved.shapes)
    assert not stored.problems
    again = await both.stub.UpdateAnnotationSet(request(asset, *shapes, etag=saved.etag))
    assert again == saved, "the same save cut in the same way makes no revision"
    batch = BatchUpdateAnnotationSetsRequest(parent="projects/p", requests=[request(asset, *shapes, etag=saved.etag)])
    assert (await both.stub.BatchUpdateAnnotationSets(batch)).results[0].annotation_set == saved


async def test_too_many_shapes_are_refused(both: Server, asset: Asset) -> None:
    status = await status_of(both.stub.UpdateAnnotationSet(request(asset, *[box("rbc")] * 10_001)))
    assert fields_of(status) == ["annotation_set.shapes"]


async def test_each_set_of_a_batch_stands_on_its_own(both: Server, asset: Asset) -> None:
    others = await both.assets(Project(name="projects/p", uid=await uid_of(both)), [png(2), png(3)])
    old = await both.save(others[0], [box("rbc")])
    absent = Asset(name=asset.name[:-1] + ("a" if asset.name[-1] != "a" else "b"))
    requests = [
        request(asset, box("rbc")),
        request(others[0], box("wbc"), etag='"old"'),
        request(others[1], box("nobody")),
        request(absent, box("rbc")),
        UpdateAnnotationSetRequest(annotation_set=AnnotationSet(name="nonsense")),
        request(asset, box("rbc"), box("rbc", x=9), etag='"not seen yet"'),
        request(others[0], box("wbc"), etag=old.etag),
    ]
    answer = await both.stub.BatchUpdateAnnotationSets(
        BatchUpdateAnnotationSetsRequest(parent="projects/p", requests=requests)
    )
    reasons = [reason_of(result.status) if result.status.code else "" for result in answer.results]
    assert reasons == [
        "", "ETAG_MISMATCH", "INVALID_ARGUMENT", "NOT_FOUND", "INVALID_ARGUMENT", "ETAG_MISMATCH", "",
    ]  # fmt: skip
    assert (await count_of(both, "rbc"), await count_of(both, "wbc")) == (1, 1)


async def test_all_sets_of_a_batch_may_be_of_one_image(both: Server, asset: Asset) -> None:
    async def save(requests: list[UpdateAnnotationSetRequest]) -> list[AnnotationSet]:
        batch = BatchUpdateAnnotationSetsRequest(parent="projects/p", requests=requests)
        return [result.annotation_set for result in (await both.stub.BatchUpdateAnnotationSets(batch)).results]

    ids = [f"set-{number}" for number in range(1000)]
    first = await save([request(asset, box("rbc"), set_id=one) for one in ids])
    again = await save(
        [request(asset, box("wbc"), set_id=one, etag=was.etag) for one, was in zip(ids, first, strict=True)]
    )
    assert [one.revision for one in (*first, *again)] == [1] * 1000 + [2] * 1000
    assert (await count_of(both, "rbc"), await count_of(both, "wbc")) == (0, 1000)


async def uid_of(server: Server) -> str:
    from bloomery.annotation.v1 import GetProjectRequest

    return str((await server.stub.GetProject(GetProjectRequest(name="projects/p"))).uid)


async def test_sets_are_listed_for_one_asset_and_for_all(both: Server, asset: Asset) -> None:
    project = Project(name="projects/p", uid=await uid_of(both))
    assets = sorted([asset, *await both.assets(project, [png(2), png(3)])], key=lambda one: str(one.name))
    expected = [
        await both.save(one, [box("rbc", x=number)], set_id=set_id)
        for number, one in enumerate(assets)
        for set_id in ("main", "yolo")
    ]
    found: list[AnnotationSet] = []
    wanted = ListAnnotationSetsRequest(parent="projects/p/assets/-", page_size=4)
    while not found or wanted.page_token:
        page = await both.stub.ListAnnotationSets(wanted)
        found += page.annotation_sets
        wanted.page_token = page.next_page_token
    assert found == expected
    one = await both.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent=assets[1].name))
    assert list(one.annotation_sets) == expected[2:4]


async def test_pages_end_where_their_shapes_would_be_too_large(
    both: Server, asset: Asset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery_annotation.store.annotation_sets.PAGE_BYTES", 100)
    for name in ("a", "b", "c"):
        await both.save(asset, [box("rbc", x=number) for number in range(5)], set_id=name)
    seen: list[str] = []
    wanted = ListAnnotationSetsRequest(parent=asset.name)
    while True:
        page = await both.stub.ListAnnotationSets(wanted)
        assert len(page.annotation_sets) <= 1
        seen += [one.name.rpartition("/")[2] for one in page.annotation_sets]
        wanted.page_token = page.next_page_token
        if not wanted.page_token:
            break
    assert seen == ["a", "b", "c"]
