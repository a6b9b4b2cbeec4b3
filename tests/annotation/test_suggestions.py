"""What models suggest beside people's shapes, and what people decide about it."""

import asyncio
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask

from bloomery.annotation.v1 import (
    AnnotationSet,
    Asset,
    CreateLabelRequest,
    DeleteAssetRequest,
    DeleteLabelRequest,
    DeleteSuggestionsRequest,
    GetAnnotationSetRequest,
    GetLabelRequest,
    Label,
    ListAnnotationSetsRequest,
    ListAssetsRequest,
    ReviewSuggestionsRequest,
    ReviewSuggestionsResponse,
    SaveSuggestionsRequest,
    SaveSuggestionsResponse,
    StreamAnnotationSetsRequest,
    Suggestion,
    UpdateAssetRequest,
)
from bloomery.vision.v1 import Provenance, Shape
from bloomery_annotation import suggesting
from bloomery_annotation.store.tables import REVISIONS
from tests.annotation.helpers import Server, box, fields_of, png, reason_of, status_of

MODEL = "projects/p/models/cells/versions/3"
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
async def images(both: Server) -> list[Asset]:
    """Three images of 64 x 48 pixels in a project with the labels rbc and wbc, which is called White cell."""
    project = await both.project()
    await both.label("rbc")
    label = Label(display_name="White cell")
    await both.stub.CreateLabel(CreateLabelRequest(parent=project.name, label_id="wbc", label=label))
    return await both.assets(project, [png(number) for number in range(3)])


def seen(label: str, x: float = 1, confidence: float = 0.5, **fields: Any) -> Shape:
    shape = box(label, x=x, **fields)
    shape.confidence = confidence
    return shape


async def suggest(
    server: Server, *suggestions: tuple[str, list[Shape]], run: str = "", model: str = MODEL
) -> SaveSuggestionsResponse:
    given = [Suggestion(digest=digest, shapes=shapes) for digest, shapes in suggestions]
    request = SaveSuggestionsRequest(parent="projects/p", model_version=model, run=run, suggestions=given)
    answer: SaveSuggestionsResponse = await server.stub.SaveSuggestions(request)
    return answer


async def read(server: Server, asset: Asset, set_id: str = "cells-3") -> AnnotationSet:
    name = f"{asset.name}/annotationSets/{set_id}"
    found: AnnotationSet = await server.stub.GetAnnotationSet(GetAnnotationSetRequest(name=name))
    return found


async def decide(server: Server, found: AnnotationSet, **places: list[int]) -> ReviewSuggestionsResponse:
    request = ReviewSuggestionsRequest(name=found.name, etag=found.etag, **places)
    answer: ReviewSuggestionsResponse = await server.stub.ReviewSuggestions(request)
    return answer


async def test_suggestions_lie_beside_what_people_drew(both: Server, images: list[Asset]) -> None:
    people = await both.save(images[0], [box("rbc")])
    answer = await suggest(both, (images[0].digest, [seen("rbc", x=20), seen("White cell")]), (images[1].digest, []))
    assert [result.code for result in answer.results] == [0, 0]
    assert (answer.shape_count, answer.annotation_set) == (2, "cells-3")
    found = await read(both, images[0])
    assert [(shape.label, shape.confidence, shape.model_version) for shape in found.shapes] == [
        ("rbc", 0.5, MODEL),
        ("wbc", 0.5, MODEL),
    ]
    assert (found.provenance.source, found.provenance.agent) == (Provenance.SOURCE_MODEL, MODEL)
    assert list((await read(both, images[1])).shapes) == []
    assert await read(both, images[0], "main") == people


async def test_readers_of_annotations_do_not_see_them(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    stream = both.stub.StreamAnnotationSets(StreamAnnotationSetsRequest(parent="projects/p"))
    items = [item async for part in stream for item in part.items]
    assert [item.HasField("annotation_set") for item in items] == [False] * 3
    listed = await both.stub.ListAssets(ListAssetsRequest(parent="projects/p", filter="annotated"))
    assert not listed.assets


async def test_images_of_a_moment_are_read_by_a_filter(both: Server, images: list[Asset]) -> None:
    request = UpdateAssetRequest(asset=Asset(name=images[1].name, split="val"), update_mask=FieldMask(paths=["split"]))
    await both.stub.UpdateAsset(request)
    saved = await both.save(images[0], [box("rbc")])
    await both.save(images[2], [box("rbc")])

    async def read_by(text: str, sequence: int = 0) -> list[str]:
        wanted = StreamAnnotationSetsRequest(parent="projects/p", filter=text, read_sequence=sequence)
        parts = [part async for part in both.stub.StreamAnnotationSets(wanted)]
        assert parts[-1].after == max(image.name for image in images).rpartition("/")[2]
        return sorted(item.asset.name for part in parts for item in part.items)

    first, second, third = (image.name for image in images)
    assert await read_by("") == sorted([first, second, third])
    assert await read_by("unannotated") == [second]
    assert await read_by("unannotated", saved.sequence) == sorted([second, third])
    assert await read_by("annotated", saved.sequence) == [first]
    assert await read_by("label:rbc", saved.sequence) == [first]
    assert await read_by("label:wbc") == []
    assert await read_by("split:val") == [second]
    assert await read_by("split:val", images[2].sequence) == []
    assert await read_by("name:nothing") == []
    assert fields_of(await status_of(read_by("suggested"))) == ["filter"]
    other = StreamAnnotationSetsRequest(parent="projects/p", filter="annotated", annotation_set="cells-3")
    assert fields_of(await status_of(both.stub.StreamAnnotationSets(other).read())) == ["filter"]


async def test_sets_and_images_are_listed_by_where_shapes_come_from(both: Server, images: list[Asset]) -> None:
    await both.save(images[0], [box("rbc")])
    await suggest(both, (images[0].digest, [seen("rbc", x=20)]), (images[1].digest, []))
    await suggest(both, (images[0].digest, [seen("rbc", x=20)]), model=MODEL[:-1] + "4")

    async def sets(text: str) -> list[tuple[str, str]]:
        request = ListAnnotationSetsRequest(parent="projects/p/assets/-", filter=text)
        found = (await both.stub.ListAnnotationSets(request)).annotation_sets
        return [(one.name.split("/")[3], one.name.split("/")[5]) for one in found]

    first, second = (one.name.split("/")[3] for one in images[:2])
    assert await sets("source:human") == [(first, "main")]
    assert sorted(await sets("source:model")) == sorted([(first, "cells-3"), (first, "cells-4"), (second, "cells-3")])
    assert sorted(await sets(f"agent:{MODEL}")) == sorted([(first, "cells-3"), (second, "cells-3")])
    for wrong in ("source:nobody", "agent:", "set:cells-3", "model"):
        assert fields_of(await status_of(sets(wrong))) == ["filter"]
    listed = await both.stub.ListAssets(ListAssetsRequest(parent="projects/p", filter="suggested"))
    assert [asset.name for asset in listed.assets] == [images[0].name]


async def test_a_second_run_replaces_what_the_same_version_suggested(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]), run="one")
    await suggest(both, (images[0].digest, [seen("wbc")]), model=MODEL[:-1] + "4", run="one")
    await suggest(both, (images[0].digest, [seen("rbc", x=30)]), run="two")
    found = await read(both, images[0])
    assert [shape.box.x for shape in found.shapes] == [30]
    assert found.revision == 2
    assert [shape.label for shape in (await read(both, images[0], "cells-4")).shapes] == ["wbc"]
    # The same shapes make no revision.
    await suggest(both, (images[0].digest, [seen("rbc", x=30)]), run="three")
    assert await read(both, images[0]) == found


async def test_the_repeat_of_a_run_brings_nothing_back_that_was_reviewed(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc"), seen("rbc", x=30)]), run="one")
    await decide(both, await read(both, images[0]), accept=[0], reject=[1])
    answer = await suggest(
        both, (images[0].digest, [seen("rbc"), seen("rbc", x=30)]), (images[1].digest, [seen("rbc")]), run="one"
    )
    assert [result.code for result in answer.results] == [0, 0]
    assert not (await read(both, images[0])).shapes
    assert len((await read(both, images[1])).shapes) == 1
    assert len((await read(both, images[0], "main")).shapes) == 1


@pytest.mark.parametrize("x", [30, 0], ids=["other", "same"])
async def test_the_repeat_of_a_run_changes_nothing_that_another_run_or_a_person_did_since(
    both: Server, images: list[Asset], x: float
) -> None:
    first, second = (images[0].digest, [seen("rbc")]), (images[0].digest, [seen("rbc", x=x) if x else seen("rbc")])
    await suggest(both, first, run="one")
    await suggest(both, second, run="two")
    found = await read(both, images[0])
    await suggest(both, first, run="one")
    assert await read(both, images[0]) == found
    await decide(both, found, accept=[], reject=[0])
    for run, given in (("one", first), ("two", second)):
        await suggest(both, given, run=run)
        assert not (await read(both, images[0])).shapes
    await suggest(both, second, run="three")
    assert len((await read(both, images[0])).shapes) == 1


async def test_what_people_saved_under_the_id_of_suggestions_stays(both: Server, images: list[Asset]) -> None:
    people = await both.save(images[0], [box("rbc")], set_id="cells-3")
    answer = await suggest(both, (images[0].digest, [seen("wbc")]), (images[1].digest, [seen("wbc")]))
    assert [reason_of(result) if result.code else "" for result in answer.results] == ["NOT_SUGGESTED", ""]
    assert answer.shape_count == 1
    assert await read(both, images[0]) == people


async def test_edited_suggestions_are_a_persons_and_stay(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    edited = await both.save(images[0], [box("wbc")], set_id="cells-3", etag=(await read(both, images[0])).etag)
    await suggest(both, (images[0].digest, [seen("rbc", x=40)]))
    assert await read(both, images[0]) == edited


async def test_bad_items_do_not_stop_good_ones(both: Server, images: list[Asset]) -> None:
    wrong = seen("rbc", confidence=2)
    answer = await suggest(
        both, (DIGEST, [seen("rbc")]), (images[0].digest, [wrong]), (images[1].digest, [seen("rbc")])
    )
    reasons = [reason_of(result) if result.code else "" for result in answer.results]
    assert reasons == ["NOT_FOUND", "INVALID_ARGUMENT", ""]
    assert len((await read(both, images[1])).shapes) == 1


async def test_what_no_label_or_no_area_has_is_left_out_and_counted(both: Server, images: list[Asset]) -> None:
    zebra, thin, outside = seen("zebra"), seen("rbc", width=0), seen("rbc", x=100)
    answer = await suggest(both, (images[0].digest, [zebra, seen("rbc", x=60), thin, zebra, outside]))
    assert [result.code for result in answer.results] == [0]
    assert (answer.shape_count, dict(answer.unknown_classes), answer.unusable_count) == (1, {"zebra": 2}, 2)
    # What sticks out is cut off, and keeps what is said of it.
    [shape] = (await read(both, images[0])).shapes
    assert (shape.box.width, shape.confidence, shape.model_version) == (4, 0.5, MODEL)


async def test_requests_that_make_no_sense_are_refused_as_a_whole(both: Server, images: list[Asset]) -> None:
    twice = [Suggestion(digest=images[0].digest)] * 2
    request = SaveSuggestionsRequest(
        parent="projects/p", model_version="projects/q/models/m/versions/1", run="x" * 129, suggestions=twice
    )
    assert fields_of(await status_of(both.stub.SaveSuggestions(request))) == ["model_version", "run", "suggestions"]
    request = SaveSuggestionsRequest(parent="p", model_version="m", suggestions=[Suggestion(digest="x")] * 1001)
    fields = fields_of(await status_of(both.stub.SaveSuggestions(request)))
    assert {"parent", "model_version", "suggestions", "suggestions[0].digest"} <= set(fields)


async def test_accepted_shapes_join_those_of_people_with_score_and_version(both: Server, images: list[Asset]) -> None:
    await both.save(images[0], [box("rbc")])
    await suggest(both, (images[0].digest, [seen("wbc", x=20), seen("rbc", x=30), seen("rbc", x=40)]))
    answer = await decide(both, await read(both, images[0]), accept=[2], reject=[0])
    assert [shape.box.x for shape in answer.suggestions.shapes] == [30]
    assert [shape.box.x for shape in answer.main.shapes] == [1, 40]
    assert (answer.main.shapes[1].confidence, answer.main.shapes[1].model_version) == (0.5, MODEL)
    assert (answer.main.provenance.source, answer.main.author) == (Provenance.SOURCE_HUMAN, "owner")
    assert answer.suggestions.provenance.source == Provenance.SOURCE_MODEL
    assert [await read(both, images[0]), await read(both, images[0], "main")] == [answer.suggestions, answer.main]
    label = await both.stub.GetLabel(GetLabelRequest(name="projects/p/labels/wbc"))
    assert label.shape_count == 0


async def test_the_first_shapes_of_an_image_may_be_accepted_ones(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    answer = await decide(both, await read(both, images[0]), accept=[0])
    assert len(answer.main.shapes) == 1
    await suggest(both, (images[0].digest, [seen("rbc")]), run="again")
    # It is there already.
    answer = await decide(both, await read(both, images[0]), accept=[0])
    assert len(answer.main.shapes) == 1
    assert not answer.suggestions.shapes


async def test_a_rejection_leaves_peoples_shapes_alone(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    answer = await decide(both, await read(both, images[0]), reject=[0])
    assert not answer.HasField("main")
    assert reason_of(await status_of(read(both, images[0], "main"))) == "NOT_FOUND"


async def test_decisions_about_other_suggestions_than_were_read_are_refused(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc"), seen("rbc", x=20)]))
    before = await read(both, images[0])
    await decide(both, before, accept=[0])
    assert reason_of(await status_of(decide(both, before, accept=[0]))) == "ETAG_MISMATCH"
    assert len((await read(both, images[0], "main")).shapes) == 1


async def test_suggestions_that_were_deleted_and_made_again_are_others(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    before = await read(both, images[0])
    await both.stub.DeleteSuggestions(DeleteSuggestionsRequest(parent="projects/p", model_version=MODEL))
    await suggest(both, (images[0].digest, [seen("wbc")]))
    assert reason_of(await status_of(decide(both, before, accept=[0]))) == "ETAG_MISMATCH"


async def test_wrong_places_are_all_told(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc"), seen("rbc", x=20)]))
    wrong = await status_of(decide(both, await read(both, images[0]), accept=[0, 2, 0], reject=[-1, 0]))
    assert fields_of(wrong) == ["accept[1]", "accept[2]", "reject[0]", "reject[1]"]


async def test_only_suggestions_are_reviewed(both: Server, images: list[Asset]) -> None:
    people = await both.save(images[0], [box("rbc")])
    assert reason_of(await status_of(decide(both, people, reject=[0]))) == "NOT_SUGGESTED"
    gone = AnnotationSet(name=f"{images[0].name}/annotationSets/cells-3")
    assert reason_of(await status_of(decide(both, gone))) == "NOT_FOUND"


async def test_of_people_who_accept_and_draw_at_once_nothing_is_lost(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc", x=number) for number in range(1, 7)]))

    async def accept_one(number: int) -> None:
        while True:
            found = await read(both, images[0])
            [place] = [index for index, shape in enumerate(found.shapes) if shape.box.x == number]
            try:
                await decide(both, found, accept=[place])
                return
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise

    await asyncio.gather(*map(accept_one, range(1, 7)))
    assert sorted(shape.box.x for shape in (await read(both, images[0], "main")).shapes) == [1, 2, 3, 4, 5, 6]
    assert not (await read(both, images[0])).shapes


async def test_what_a_version_suggested_is_deleted_and_nothing_else(
    both: Server, images: list[Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggesting, "_AT_ONCE", 2)
    other = MODEL[:-1] + "4"
    for model in (MODEL, other):
        await suggest(both, *((image.digest, [seen("rbc"), seen("rbc", x=30)]) for image in images), model=model)
    await decide(both, await read(both, images[0]), accept=[0])
    request = DeleteSuggestionsRequest(parent="projects/p", model_version=MODEL)
    assert (await both.stub.DeleteSuggestions(request)).annotation_set_count == 3
    assert (await both.stub.DeleteSuggestions(request)).annotation_set_count == 0
    listed = await both.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent="projects/p/assets/-"))
    assert sorted(one.name.split("/")[5] for one in listed.annotation_sets) == ["cells-4"] * 3 + ["main"]
    label = await both.stub.GetLabel(GetLabelRequest(name="projects/p/labels/rbc"))
    assert label.shape_count == 7
    async with both.app._db.read() as tx:
        left = await tx.scalar(sa.select(sa.func.count()).where(REVISIONS.c.set_id == "cells-3"))
    assert left == 0


async def test_suggestions_go_with_their_image_and_their_label(both: Server, images: list[Asset]) -> None:
    await suggest(both, *((image.digest, [seen("rbc"), seen("wbc", x=30)]) for image in images))
    await both.stub.DeleteAsset(DeleteAssetRequest(name=images[0].name))
    await both.stub.DeleteLabel(DeleteLabelRequest(name="projects/p/labels/wbc", force=True))
    listed = await both.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent="projects/p/assets/-"))
    assert [[shape.label for shape in one.shapes] for one in listed.annotation_sets] == [["rbc"], ["rbc"]]
    assert {one.provenance.source for one in listed.annotation_sets} == {Provenance.SOURCE_MODEL}


async def test_viewers_may_not_suggest_nor_decide(both: Server, images: list[Asset]) -> None:
    await suggest(both, (images[0].digest, [seen("rbc")]))
    found = await read(both, images[0])
    async with both.as_user("VIEWER:eve") as viewer:
        for call in (
            viewer.SaveSuggestions(SaveSuggestionsRequest(parent="projects/p", model_version=MODEL)),
            viewer.ReviewSuggestions(ReviewSuggestionsRequest(name=found.name, etag=found.etag, accept=[0])),
            viewer.DeleteSuggestions(DeleteSuggestionsRequest(parent="projects/p", model_version=MODEL)),
        ):
            assert (await status_of(call)).code == grpc.StatusCode.PERMISSION_DENIED.value[0]


async def test_names_that_are_too_long_for_an_id_are_told_apart(both: Server, images: list[Asset]) -> None:
    model = f"projects/p/models/{'m' * 63}/versions/"
    answers = [await suggest(both, (images[0].digest, []), model=f"{model}{number}") for number in (1, 2)]
    assert answers[0].annotation_set != answers[1].annotation_set
    assert all(answer.results[0].code == 0 for answer in answers)
