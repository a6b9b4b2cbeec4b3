"""Shapes are saved once, however often the answer is lost, and no prediction replaces what people made."""

import pytest

from bloomery import Asset, Client, Prediction, errors
from bloomery.annotation import v1 as annotation
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.fake import DropReply, Fake

SEEN = vision.Shape(label="RBC", box=vision.Box(x=1, y=2, width=3, height=4), confidence=0.5)
PREDICTION = Prediction(
    inference.PredictResponse(shapes=[SEEN], width=640, height=480, model_version=world.MODEL_VERSION.name)
)
MODEL, HUMAN, IMPORT = (
    vision.Provenance(source=getattr(vision.Provenance, f"SOURCE_{name}")) for name in ("MODEL", "HUMAN", "IMPORT")
)


class Sets:
    """Keeps one set as the service does: the first save needs no etag, every later one that of the newest revision."""

    def __init__(self, fake: Fake) -> None:
        self.now: annotation.AnnotationSet | None = None
        fake.answer("GetAnnotationSet", self.get)
        fake.answer("UpdateAnnotationSet", self.update)

    def get(self, request: annotation.GetAnnotationSetRequest) -> annotation.AnnotationSet:
        return self.now or annotation.AnnotationSet(name=request.name)

    def update(self, request: annotation.UpdateAnnotationSetRequest) -> annotation.AnnotationSet:
        given = request.annotation_set
        assert request.allow_missing == (not given.etag)
        saved = annotation.AnnotationSet(etag="1", revision=1)
        saved.MergeFrom(given)
        self.now = saved
        return saved


@pytest.fixture
def sets(fake: Fake) -> Sets:
    world.settle(fake)
    return Sets(fake)


@pytest.fixture
def asset(sets: Sets, client: Client) -> Asset:
    return client.asset("a1")


def etag_required() -> served.InvalidArgument:
    return served.InvalidArgument([served.FieldViolation("annotation_set.etag", "is required")], "ETAG_REQUIRED")


def test_a_first_save_whose_answer_was_lost_is_no_conflict_with_itself(fake: Fake, asset: Asset) -> None:
    fake.queue("UpdateAnnotationSet", DropReply(), etag_required())
    assert asset.save_annotations([SEEN]).revision == 1


def test_a_first_save_that_came_second_is_a_conflict(fake: Fake, sets: Sets, asset: Asset) -> None:
    asset.annotation_set()
    sets.now = annotation.AnnotationSet(name=world.SET.name, shapes=[world.BOX], etag="1")
    fake.queue("UpdateAnnotationSet", etag_required())
    with pytest.raises(errors.Conflict) as caught:
        asset.save_annotations([SEEN])
    assert caught.value.reason == "ETAG_MISMATCH"


def test_a_prediction_is_kept_as_the_models_with_its_scores(fake: Fake, asset: Asset) -> None:
    saved = asset.save_annotations(PREDICTION)
    assert saved.provenance == vision.Provenance(source=MODEL.source, agent=world.MODEL_VERSION.name)
    assert [(shape.label, shape.confidence) for shape in saved.shapes] == [("rbc", 0.5)]
    assert (SEEN.label, SEEN.model_version) == ("RBC", "")


def test_what_a_model_saw_can_be_told_from_what_a_person_adds_to_it(sets: Sets, asset: Asset) -> None:
    seen = asset.save_annotations(PREDICTION)
    sets.now = seen
    corrected = asset.save_annotations([*seen.shapes, world.BOX])
    assert corrected.provenance == HUMAN
    assert [shape.model_version for shape in corrected.shapes] == [world.MODEL_VERSION.name, ""]


@pytest.mark.parametrize("origin", [HUMAN, IMPORT], ids=["drawn", "imported"])
def test_no_prediction_replaces_what_people_made(
    fake: Fake, sets: Sets, asset: Asset, origin: vision.Provenance
) -> None:
    sets.now = annotation.AnnotationSet(name=world.SET.name, provenance=origin, etag="1")
    with pytest.raises(errors.FailedPrecondition) as caught:
        asset.save_annotations(PREDICTION)
    assert caught.value.reason == "ANNOTATED_BY_PEOPLE"
    assert "UpdateAnnotationSet" not in fake.calls


def test_a_newer_prediction_replaces_an_older_one(sets: Sets, asset: Asset) -> None:
    sets.now = annotation.AnnotationSet(name=world.SET.name, provenance=MODEL, etag="1")
    assert len(asset.save_annotations(PREDICTION).shapes) == 1


def test_a_person_may_save_over_anything(sets: Sets, asset: Asset) -> None:
    sets.now = annotation.AnnotationSet(name=world.SET.name, provenance=IMPORT, etag="1")
    assert asset.save_annotations(PREDICTION.shapes).provenance == HUMAN
