"""Images in every form that people have them, many at once, and bad ones among them."""

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bloomery import AsyncClient, Blob, Client, ModelVersion, errors
from bloomery.annotation import v1 as annotation
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from bloomery_vision import images as seen_by_server
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_drawing import encoded

PIXELS = np.random.default_rng(3).integers(0, 255, (30, 40, 3), dtype=np.uint8)


@pytest.fixture
def model(fake: Fake, client: Client) -> ModelVersion:
    world.settle(fake)
    return client.model_version("cells-v@1")


def sent(fake: Fake) -> Any:
    """The pixels of the last image as the server reads them, RGB."""
    return seen_by_server.decode(fake.calls["Predict"][-1].image)


def test_pixels_arrive_as_they_are(fake: Fake, model: ModelVersion, tmp_path: Path) -> None:
    given: tuple[object, ...] = (
        PIXELS,
        PIXELS[:, ::-1][:, ::-1],
        Image.fromarray(PIXELS),
        np.dstack([PIXELS, np.full((30, 40), 255, np.uint8)]),
    )
    for image in given:
        prediction = model.predict(image)  # type: ignore[arg-type]
        assert (sent(fake) == PIXELS).all()
        assert prediction.save(tmp_path / "seen.png").is_file()
    model.predict(PIXELS[:, :, 0])
    assert (sent(fake) == PIXELS[:, :, :1]).all()
    model.predict(Image.fromarray(PIXELS).convert("CMYK"))
    assert sent(fake).shape == (30, 40, 3)


def test_a_file_that_no_call_can_carry_is_named_and_stops_no_other(model: ModelVersion, tmp_path: Path) -> None:
    large, good = tmp_path / "large.tif", tmp_path / "good.png"
    with large.open("wb") as file:
        file.truncate(80 << 20)
    Image.fromarray(PIXELS).save(good)
    first, second = model.predict_each([large, good])
    assert first.error is not None
    assert first.error.reason == "IMAGE_TOO_LARGE"
    assert "large.tif" in str(first.error)
    assert second.error is None


def test_the_pixels_of_a_turned_photograph_are_taken_as_they_are(fake: Fake, model: ModelVersion) -> None:
    photograph = Image.open(io.BytesIO(encoded(20, 10, orientation=6)))
    photograph.load()
    model.predict(photograph)
    assert sent(fake).shape == (10, 20, 3)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (3, "not int"),
        (None, "not NoneType"),
        (PIXELS.astype(np.float32), r"not an array \[30, 40, 3\] of <f4"),
        (PIXELS[:, :, :2], r"not an array \[30, 40, 2\]"),
        (PIXELS[:0], r"not an array \[0, 40, 3\]"),
        (b"", "the image has no bytes"),
    ],
    ids=["number", "none", "floats", "channels", "empty", "no bytes"],
)
def test_what_is_no_image_is_told_what_is_taken(fake: Fake, model: ModelVersion, image: Any, told: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=told):
        model.predict(image)
    assert "Predict" not in fake.calls


def test_a_file_without_bytes_is_named(model: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(errors.InvalidArgument, match=r"a\.jpg has no bytes"):
        model.predict(tmp_path / "a.jpg")


def test_images_are_answered_in_their_order_and_a_bad_one_stops_no_other(fake: Fake, model: ModelVersion) -> None:
    def answer(request: inference.PredictRequest) -> inference.PredictResponse:
        number = int(request.image)
        time.sleep(0.02 * (number % 3))
        return inference.PredictResponse(shapes=[vision.Shape(label=str(number))])

    fake.answer("Predict", answer)
    images: list[Any] = [b"1", b"", b"2", 5, b"3", b"4", b"5"]
    found = list(model.predict_each(images, classes=["rbc"]))
    assert [one.prediction.shapes[0].label if one.prediction else None for one in found] == [
        *("1", None, "2", None, "3", "4", "5")
    ]
    assert [one.image for one in found if one.error] == [b"", 5]
    assert {tuple(call.classes) for call in fake.calls["Predict"]} == {("RBC",)}


def unreadable(field: str) -> served.InvalidArgument:
    return served.InvalidArgument([served.FieldViolation(field, "is damaged")])


def test_an_image_that_the_server_refuses_is_one_of_many_but_a_wrong_option_ends_it(
    fake: Fake, model: ModelVersion
) -> None:
    fake.queue("Predict", unreadable("image"))
    found = list(model.predict_each([b"1", b"2"]))
    assert sorted(one.error.message if one.error else "" for one in found) == ["", "image: is damaged"]
    fake.queue("Predict", served.NotFound("asset", world.ASSET.name))
    [gone] = model.predict_each([world.ASSET])
    assert isinstance(gone.error, errors.NotFound)
    fake.queue("Predict", served.NotFound("model version", world.MODEL_VERSION.name))
    with pytest.raises(errors.NotFound):
        list(model.predict_each([world.ASSET]))
    fake.queue("Predict", unreadable("threshold"))
    with pytest.raises(errors.InvalidArgument, match="threshold"):
        list(model.predict_each([b"1"]))
    fake.queue("Predict", served.FailedPrecondition("NO_VARIANT", "no variant serves"))
    with pytest.raises(errors.FailedPrecondition):
        list(model.predict_each([b"1"]))


def test_a_listing_of_the_client_may_be_given(fake: Fake, client: Client, model: ModelVersion) -> None:
    found = list(model.predict_each(client.project("cells").assets()))
    assert [one.image.name for one in found] == [world.ASSET.name]


async def test_an_asynchronous_listing_may_be_given(fake: Fake, aclient: AsyncClient) -> None:
    world.settle(fake)
    model, project = await aclient.model_version("cells-v@1"), await aclient.project("cells")
    assert [one.image.name async for one in model.predict_each(project.assets())] == [world.ASSET.name]


def test_who_leaves_early_asks_for_no_more(fake: Fake, model: ModelVersion) -> None:
    fake.answer("Predict", lambda request: world.PREDICTION)
    images = model.predict_each([b"1"] * 1000)
    next(images)
    images.close()  # type: ignore[attr-defined]
    time.sleep(0.05)
    assert len(fake.calls["Predict"]) < 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three images, one of them damaged, and things that are none."""
    for name in ("b.png", "deep/a.PNG", ".hidden/c.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encoded())
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "notes.txt").write_text("none")
    return tmp_path / "in"


def test_a_folder_is_predicted_image_by_image(run: Run, folder: Path) -> None:
    result = run("predict cells-v@1 -o json --save", str(folder.parent / "out"), str(folder))
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    names = [str(folder / name) for name in ("b.png", "deep/a.PNG", "empty.jpg")]
    assert [one["image"] for one in found] == names
    assert [one.get("error", {}).get("message") for one in found] == [None, None, f"{names[2]} has no bytes"]
    assert f"error: {names[2]} has no bytes" in result.stderr
    assert sorted(path.name for path in (folder.parent / "out").iterdir()) == ["a.PNG", "b.png"]


def test_a_bad_file_among_good_ones_is_named(fake: Fake, run: Run, folder: Path) -> None:
    fake.queue("Predict", unreadable("image"))
    result = run("predict cells-v@1", str(folder / "b.png"), str(folder / "missing.jpg"))
    assert result.exit_code == 1
    assert f"error: {folder / 'b.png'}: is damaged" in result.stderr
    assert f"error: {folder / 'missing.jpg'} cannot be read: No such file" in result.stderr


def test_a_folder_without_images_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    result = run("predict cells-v@1", str(tmp_path / "none"))
    assert result.exit_code == 4
    assert "none has no images" in result.stderr


@pytest.mark.parametrize("line", ["", "a.png --assets all", "a.png --to-annotations"])
def test_what_to_predict_on_is_said_once(run: Run, line: str) -> None:
    assert run(f"predict cells-v@1 {line}").exit_code == 2


def test_images_of_the_project_are_predicted_and_annotated_unless_people_were_there(fake: Fake, run: Run) -> None:
    human = vision.Provenance(source=vision.Provenance.SOURCE_HUMAN)
    assets = [annotation.Asset(name=f"projects/cells/assets/a{n}", display_name=f"im/{n}.jpg") for n in range(3)]
    fake.answer("ListAssets", annotation.ListAssetsResponse(assets=assets))

    def kept(request: annotation.GetAnnotationSetRequest) -> annotation.AnnotationSet:
        if "/a0/" in request.name:
            return annotation.AnnotationSet(name=request.name, etag="1", provenance=human)
        return annotation.AnnotationSet(name=request.name)

    fake.answer("GetAnnotationSet", kept)
    result = run("predict cells-v@1 --assets all --to-annotations -o json")
    assert result.exit_code == 0, result.output
    assert [one["asset"] for one in json.loads(result.stdout)] == [asset.name for asset in assets]
    assert "im/0.jpg: 1 shape in 93 ms, left alone: people annotated it" in result.stderr
    assert "im/1.jpg: 1 shape in 93 ms, saved" in result.stderr
    assert [call.annotation_set.name.split("/")[3] for call in fake.calls["UpdateAnnotationSet"]] == ["a1", "a2"]
    assert fake.calls["ListAssets"][-1].filter == ""
    run("predict cells-v@1 --assets label:RBC")
    assert fake.calls["ListAssets"][-1].filter == "label:rbc"


def test_a_filter_that_means_no_image_is_told(fake: Fake, run: Run) -> None:
    fake.answer("ListAssets", annotation.ListAssetsResponse())
    result = run("predict cells-v@1 --assets unannotated -o json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert result.stderr == "no image of the project is meant by unannotated\n"


def test_a_prediction_is_shown_without_the_bytes_of_its_image(model: ModelVersion) -> None:
    prediction = model.predict(b"the bytes")
    assert prediction.source == b"the bytes"
    assert "the bytes" not in repr(prediction)


def test_a_region_and_tiles_are_asked_for(fake: Fake, model: ModelVersion, run: Run, tmp_path: Path) -> None:
    model.predict(b"1", region=(1, 2.5, 30, 40), tile=640, tile_overlap=0.3)
    asked = fake.calls["Predict"][-1]
    assert (asked.region.x, asked.region.y, asked.region.width, asked.region.height) == (1, 2.5, 30, 40)
    assert (asked.tiling.size, asked.tiling.overlap) == (640, 0.3)
    model.predict(b"1", tile=0)
    assert fake.calls["Predict"][-1].HasField("tiling")
    assert not fake.calls["Predict"][-1].tiling.HasField("overlap")
    model.predict(b"1")
    assert not fake.calls["Predict"][-1].HasField("tiling")
    assert not fake.calls["Predict"][-1].HasField("region")
    (tmp_path / "a.png").write_bytes(encoded())
    result = run("predict cells-v@1 --region 1,2.5,30,40 --tile input --tile-overlap 0.3", str(tmp_path / "a.png"))
    assert result.exit_code == 0, result.output
    assert fake.calls["Predict"][-1].region == asked.region
    assert (fake.calls["Predict"][-1].tiling.size, fake.calls["Predict"][-1].tiling.overlap) == (0, 0.3)
    run("predict cells-v@1 --tile 640", str(tmp_path / "a.png"))
    assert fake.calls["Predict"][-1].tiling.size == 640


@pytest.mark.parametrize("line", ["--region 1,2,3", "--region a,b,c,d", "--tile 0", "--tile large", "--tile-overlap 1"])
def test_what_is_no_region_and_no_tile_is_told(run: Run, line: str) -> None:
    assert run(f"predict cells-v@1 a.png {line}").exit_code == 2


def test_a_blob_of_the_project_is_named_by_its_digest_or_url(fake: Fake, model: ModelVersion, run: Run) -> None:
    assert model.predict(Blob("http://x/blobs/y")).source is None
    assert fake.calls["Predict"][-1].blob == "http://x/blobs/y"
    result = run("predict cells-v@1 -o json sha256:abc sha256:def")
    assert result.exit_code == 0, result.output
    assert [one["image"] for one in json.loads(result.stdout)] == ["sha256:abc", "sha256:def"]
    assert {call.blob for call in fake.calls["Predict"][-2:]} == {"sha256:abc", "sha256:def"}
    assert run("predict cells-v@1 sha256:abc --save out").exit_code == 2
    fake.queue("Predict", served.NotFound("blob", "sha256:abc"))
    [gone] = model.predict_each([Blob("sha256:abc")])
    assert isinstance(gone.error, errors.NotFound)
    [one] = model.predict_each([Blob("sha256:abc")], masks="polygons")
    assert one.error is None
    assert fake.calls["Predict"][-1].masks == inference.MASK_FORM_POLYGON
    with pytest.raises(errors.InvalidArgument, match="rle or polygons"):
        model.predict(b"1", masks="bitmap")  # type: ignore[arg-type]


@pytest.mark.parametrize("region", [(1, 2, 3), "abcd", 5])
def test_a_region_is_four_numbers(model: ModelVersion, region: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="four numbers"):
        model.predict(b"1", region=region)


@pytest.mark.parametrize(("field", "reason"), [("region", "REGION_OUTSIDE"), ("tiling", "TOO_MANY_TILES")])
def test_an_image_of_the_wrong_size_is_one_of_many(fake: Fake, model: ModelVersion, field: str, reason: str) -> None:
    fake.queue("Predict", served.InvalidArgument([served.FieldViolation(field, "does not fit")], reason=reason))
    found = list(model.predict_each([b"1", b"2"], region=(0, 0, 5, 5)))
    assert sorted(one.error.reason if one.error else "" for one in found) == ["", reason]
