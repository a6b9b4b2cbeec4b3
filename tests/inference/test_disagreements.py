"""Two versions of a deployment are asked about a sample of its requests, and what they disagree about is kept."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery.annotation.v1 import Asset
from bloomery.inference.v1 import (
    Deployment,
    ListDeploymentDisagreementsRequest,
    ListDeploymentDisagreementsResponse,
    PredictRequest,
    PredictStreamRequest,
)
from bloomery_inference.serving.comparing import Cases
from bloomery_inference.serving.differing import difference, wilson
from bloomery_vision.geometry import Box, Found, Mask, Tag
from bloomery_vision.rings import polygon_of
from tests.inference.asking import until
from tests.inference.conftest import Service
from tests.inference.deploying import NAME, V1, V2, V3, create, state, update, versions
from tests.inference.neighbours import PROJECT_UID
from tests.inference.simulated import deployment
from tests.inference.test_predict import white

IMAGE = white(32, 32)
NAMES = ("m@1", "m@2")
SIZE = (30, 30)


@pytest.fixture
def limits() -> dict[str, int]:
    """Every request is in the sample."""
    return {"running_predictions": 1, "waiting_predictions": 8, "compared_percent": 100}


async def compared(service: Service, count: int, **page: int) -> ListDeploymentDisagreementsResponse:
    request = ListDeploymentDisagreementsRequest(parent=NAME, **page)  # type: ignore[arg-type]
    return await until(
        lambda: service.deployments.ListDeploymentDisagreements(request),
        lambda found: found.rate.compared_count == count,
    )


async def test_what_a_shadow_sees_otherwise_is_kept_with_the_image_and_how_often(
    service: Service, tmp_path: Path
) -> None:
    await versions(service, tmp_path, 3)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    await update(service, model_version=V2, shadow=True)
    await state(service, Deployment.STATE_READY)
    for _ in range(3):
        answer = await service.predictions.Predict(PredictRequest(deployment=NAME, image=IMAGE))
        assert answer.model_version == V1
    found = await compared(service, 3, page_size=2)
    assert (found.rate.disagreed_count, found.rate.rate, found.rate.upper) == (3, 1, 1)
    assert found.rate.lower == pytest.approx(0.4385, abs=1e-3)
    first = found.deployment_disagreements[0]
    assert first.difference == "dog at 12, 14: only pets@1; cat at 12, 14: only pets@2"
    assert (first.model_version, first.other_model_version) == (V1, V2)
    assert first.digest == f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
    assert (first.name, len(found.deployment_disagreements)) == (f"{NAME}/disagreements/3", 2)
    await update(service, model_version=V3, shadow=True)
    await state(service, Deployment.STATE_READY)
    await service.predictions.Predict(PredictRequest(deployment=NAME, image=IMAGE))
    again = await compared(service, 1)
    assert (again.rate.disagreed_count, list(again.deployment_disagreements)) == (0, [])
    assert again.rate.other_model_version == V3


async def test_frames_of_a_stream_that_are_images_of_the_project_are_named(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    await update(service, model_version=V2, shadow=True)
    await state(service, Deployment.STATE_READY)
    digest = f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
    asset = Asset(name="projects/pets/assets/a1", digest=digest, size_bytes=len(IMAGE))
    service.projects.assets[asset.name] = asset
    await service.objects.put(f"{PROJECT_UID}/{digest.removeprefix('sha256:')}", IMAGE)
    opening = PredictStreamRequest(options=PredictRequest(deployment=NAME))
    frames = (opening, PredictStreamRequest(asset=asset.name), PredictStreamRequest(image=IMAGE))
    answers = [one async for one in service.predictions.PredictStream(iter(frames))]
    assert [one.prediction.model_version for one in answers] == [V1, V1]
    found = await compared(service, 2)
    assert sorted(one.asset for one in found.deployment_disagreements) == ["", asset.name]
    assert {one.digest for one in found.deployment_disagreements} == {digest}


async def test_both_ways_are_compared_while_a_candidate_answers_a_part(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    await update(service, model_version=V2, traffic_percent=50)
    await state(service, Deployment.STATE_READY)
    for _ in range(2):
        await service.predictions.Predict(PredictRequest(deployment=NAME, image=IMAGE))
    found = await compared(service, 2)
    assert {one.model_version for one in found.deployment_disagreements} == {V1, V2}


async def test_nothing_is_compared_without_a_candidate(service: Service, tmp_path: Path) -> None:
    await versions(service, tmp_path, 1)
    await create(service, runtime="onnxruntime")
    await state(service, Deployment.STATE_READY)
    await service.predictions.Predict(PredictRequest(deployment=NAME, image=IMAGE))
    request = ListDeploymentDisagreementsRequest(parent=NAME)
    assert not (await service.deployments.ListDeploymentDisagreements(request)).HasField("rate")


def box(x: float, label: str = "cell", score: float = 0.9) -> Found:
    return Found(label, score, Box(x, 0, 10, 10))


def test_shapes_that_overlap_by_half_are_the_same_whatever_their_scores_and_order() -> None:
    assert difference([box(0), box(50)], [box(52, score=0.3), box(1)], NAMES, SIZE) == ""
    assert difference([box(0)], [box(6)], NAMES, SIZE) == "cell at 0, 0: only m@1; cell at 6, 0: only m@2"
    assert difference([box(0)], [box(0, "dust")], NAMES, SIZE) == "cell at 0, 0: only m@1; dust at 0, 0: only m@2"
    assert difference([box(0), box(0)], [box(0)], NAMES, SIZE) == "cell at 0, 0: only m@1"
    assert difference([box(i * 20) for i in range(7)], [], NAMES, SIZE).endswith("; and 2 more")


def mask(array: "np.typing.NDArray[np.bool_]") -> Found:
    return Found("cell", 0.9, Mask.from_array(np.pad(array, (0, 30 - len(array)))))


def test_masks_and_outlines_are_compared_by_their_pixels() -> None:
    square = np.ones((10, 10), np.bool_)
    lower, upper = np.tril(square), np.triu(square)
    assert difference([mask(square)], [mask(square), mask(lower)], NAMES, SIZE) == "cell at 0, 0: only m@2"
    assert difference([mask(square)], [mask(lower)], NAMES, SIZE) == ""
    # Of the same box, and with no more than the diagonal in common.
    assert difference([mask(lower)], [mask(upper)], NAMES, SIZE) == "cell at 0, 0: only m@1; cell at 0, 0: only m@2"
    rings = polygon_of(Mask.from_array(np.pad(lower, (0, 20))))
    assert rings
    outline = Found("cell", 0.5, rings)
    assert difference([mask(lower)], [outline], NAMES, SIZE) == ""
    assert difference([mask(upper)], [outline], NAMES, SIZE) != ""
    assert difference([mask(square)], [box(0)], NAMES, SIZE) == ""


def test_tags_are_compared_by_the_best() -> None:
    cat, dog = Found("cat", 0.6, Tag()), Found("dog", 0.4, Tag())
    assert difference([cat, dog], [cat], NAMES, SIZE) == ""
    assert difference([cat, dog], [dog], NAMES, SIZE) == "m@1 says cat, m@2 dog"
    assert difference([cat], [], NAMES, SIZE) == "m@1 says cat, m@2 nothing"


@given(st.integers(1, 10_000), st.data())
def test_an_interval_holds_its_share_and_stays_between_0_and_1(among: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, among))
    share, lower, upper = wilson(count, among)
    assert 0 <= lower <= share <= upper <= 1
    assert (share, lower == 0, upper == 1) == (count / among, count == 0, count == among)


def test_an_interval_is_that_of_the_literature() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, and 0 of 20.
    assert wilson(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20)[1:] == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0, 0, 1)


def test_the_sample_has_about_the_share_that_is_asked_for() -> None:
    cases = Cases(percent=10)
    assert 900 < sum(cases.takes(deployment(), turn) for turn in range(10_000)) < 1100
    assert not any(Cases(percent=0).takes(deployment(), turn) for turn in range(1000))
