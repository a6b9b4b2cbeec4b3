"""Videos: frames as they are shown, what is seen on them as files, and annotated videos that play."""

import io
import json
import struct
import subprocess
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bloomery import Client, Prediction, errors, video
from bloomery.cli._options import Output
from bloomery.cli._seen import Report
from bloomery.inference import v1 as inference
from bloomery.vision import v1 as vision
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

ONE = 1 << 16
SIZE = (64, 48)
TIMES = [0.0, 0.04, 0.08, 0.2, 0.24, 0.5]


def picture(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Dark, but for a bright corner at the top left that grows with the number."""
    pixels = np.full((size[1], size[0], 3), 30, dtype=np.uint8)
    pixels[: 8 + 4 * number, :16] = 220
    return Image.fromarray(pixels)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Six frames at uneven times."""
    path = tmp_path / "in" / "clip.mp4"
    with video.writing(path) as writer:
        for number, time in enumerate(TIMES):
            writer.add(picture(number), time)
    return path


def bright(shown: Image.Image) -> tuple[int, int, int, int]:
    """The box around what is bright: left, upper, right, lower."""
    found = shown.convert("L").point(lambda value: 255 if value > 120 else 0).getbbox()
    assert found is not None
    return found


def test_frames_have_their_places_and_times(clip: Path) -> None:
    found = list(video.frames_of(clip))
    assert [frame.number for frame in found] == list(range(6))
    assert [frame.time for frame in found] == pytest.approx(TIMES, abs=1e-4)
    for frame in found:
        assert isinstance(frame.image, Image.Image)
        assert frame.image.size == SIZE
        assert bright(frame.image)[2:] == pytest.approx((16, 8 + 4 * frame.number), abs=1)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"every": 2}, [0, 2, 4]),
        ({"every": 100}, [0]),
        ({"fps": 10.0}, [0, 3, 5]),
        ({"fps": 1.0}, [0]),
        ({"fps": 1000.0}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_some_frames_are_chosen_by_place_or_by_time(clip: Path, options: dict[str, Any], numbers: list[int]) -> None:
    assert [frame.number for frame in video.frames_of(clip, **options)] == numbers


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, ONE, -ONE, 0), Image.Transpose.ROTATE_270),
        ((0, -ONE, ONE, 0), Image.Transpose.ROTATE_90),
        ((-ONE, 0, 0, -ONE), Image.Transpose.ROTATE_180),
        ((-ONE, 0, 0, ONE), Image.Transpose.FLIP_LEFT_RIGHT),
        ((ONE, 0, 0, -ONE), Image.Transpose.FLIP_TOP_BOTTOM),
        ((0, ONE, ONE, 0), Image.Transpose.TRANSPOSE),
        ((0, -ONE, -ONE, 0), Image.Transpose.TRANSVERSE),
    ],
)
def test_frames_are_turned_and_mirrored_as_the_file_says(
    clip: Path, matrix: tuple[int, int, int, int], turned: Image.Transpose
) -> None:
    [plain, *_] = video.frames_of(clip)
    content = bytearray(clip.read_bytes())
    # The matrix of the track's header (ISO 14496-12, `tkhd`, version 0) maps by columns a b u, c d v, x y w.
    at = content.index(b"tkhd") + 44
    a, b, c, d = matrix
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(content)
    [frame, *_] = video.frames_of(clip)
    assert isinstance(plain.image, Image.Image)
    assert isinstance(frame.image, Image.Image)
    assert frame.image.tobytes() == plain.image.transpose(turned).tobytes()


def test_what_is_no_video_says_why(tmp_path: Path, clip: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("none")
    for source, told in (
        (tmp_path / "none.mp4", "No such file"),
        (text, "cannot be opened as a video"),
        ("rtsp://127.0.0.1:1/x", "Connection refused"),
    ):
        with pytest.raises(errors.InvalidArgument, match=told) as refused:
            next(video.frames_of(source))
        assert refused.value.reason == "VIDEO_UNREADABLE"
    for wrong in ({"every": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"fps": float("inf")}):
        with pytest.raises(errors.InvalidArgument, match="at least 1"):
            video.frames_of(clip, **wrong)


def test_a_damaged_part_costs_its_frames_alone_and_is_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    noise = np.random.default_rng(5)
    with video.writing(path) as writer:
        for number in range(80):
            # A picture that has nothing in common with the one before starts anew.
            writer.add(Image.fromarray(noise.integers(0, 255, (48, 64, 3), dtype=np.uint8)), number / 25)
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    middle = start + (len(content) - start) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    seen = 0
    with pytest.raises(errors.InvalidArgument, match="packets cannot be decoded") as damaged:
        for _ in video.frames_of(path):
            seen += 1
    assert damaged.value.reason == "VIDEO_DAMAGED"
    assert seen > 40


def test_a_video_of_odd_pictures_plays_and_keeps_its_times(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "odd.mp4"
    times = [0.0, 0.1, 0.1, 0.05, 3.0]
    with video.writing(path) as writer:
        for number, time in enumerate(times):
            writer.add(picture(number, (41, 31) if number != 3 else (90, 20)), time)
    found = list(video.frames_of(path))
    assert [frame.time for frame in found] == pytest.approx([0.0, 0.1, 0.1, 0.1, 3.0], abs=1e-3)
    assert {frame.image.size for frame in found if isinstance(frame.image, Image.Image)} == {(42, 32)}


def test_a_video_that_fails_leaves_the_one_before(clip: Path) -> None:
    before = clip.read_bytes()
    with pytest.raises(OSError, match="stop"), video.writing(clip) as writer:
        writer.add(picture(0), 0.0)
        raise OSError("stop")
    assert clip.read_bytes() == before
    assert list(clip.parent.iterdir()) == [clip]


def test_without_its_library_the_refusal_says_what_to_install(clip: Path) -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from bloomery import video, errors\n"
        "try: next(video.frames_of(sys.argv[1]))\n"
        "except errors.FailedPrecondition as error: print(error.reason, error.hint)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(clip)], capture_output=True, text=True, check=True).stdout
    assert told == 'EXTRA_MISSING pip install "bloomery[video]"\n'


def seen(number: int) -> inference.PredictResponse:
    box = vision.Box(x=2, y=2, width=10, height=4 * number + 4)
    return inference.PredictResponse(
        shapes=[vision.Shape(label="RBC", confidence=0.5, box=box)], width=SIZE[0], height=SIZE[1]
    )


@pytest.fixture
def watching(fake: Fake) -> None:
    """The server sees a box on each frame, but cannot use that of number 3."""

    async def answers(requests: AsyncIterator[Any]) -> AsyncIterator[object]:
        async for request in requests:
            if request.HasField("options"):
                continue
            reply = inference.PredictStreamResponse(number=request.number, prediction=seen(request.number))
            if request.number == 3:
                refused = served.InvalidArgument([served.FieldViolation("image", "is odd")])
                reply = inference.PredictStreamResponse(number=3, status=served.to_status(refused))
            yield reply

    fake.converse("PredictStream", answers)


@pytest.mark.usefixtures("watching")
def test_a_video_becomes_lines_coco_labels_and_a_video_that_plays(run: Run, clip: Path) -> None:
    out = clip.parent.parent / "out"
    formats = "--format jsonl --format coco --format yolo"
    result = run(f"predict cells-v@1 {formats} --to {out} --save {out}", str(clip))
    assert result.exit_code == 1
    assert f"error: {clip.parent / 'clip_000003.jpg'}: is odd" in result.stderr
    assert f"{clip}: 6 frames, 5 shapes in " in result.stderr
    assert f"drawn in {out / 'clip.mp4'}" in result.stderr
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["file_name"] for line in lines] == [str(clip.parent / f"clip_00000{n}.jpg") for n in range(6)]
    assert [(line["video"], line["frame"]) for line in lines] == [(str(clip), number) for number in range(6)]
    assert [line["time"] for line in lines] == pytest.approx(TIMES, abs=1e-4)
    assert lines[3]["error"]["message"] == "is odd"
    coco = json.loads((out / "coco.json").read_text())
    assert [(one["file_name"], one["frame"]) for one in coco["images"]] == [
        (line["file_name"], line["frame"]) for line in lines if "shapes" in line
    ]
    assert sorted(path.name for path in (out / "labels").iterdir()) == [f"clip_00000{n}.txt" for n in (0, 1, 2, 4, 5)]
    drawn = list(video.frames_of(out / "clip.mp4"))
    assert [frame.time for frame in drawn] == pytest.approx(TIMES, abs=1e-3)
    plain = list(video.frames_of(clip))
    differ = [
        np.abs(np.asarray(one.image, np.int16) - np.asarray(other.image, np.int16)).max() > 60
        for one, other in zip(drawn, plain, strict=True)
    ]
    assert differ == [True, True, True, False, True, True]


@pytest.mark.usefixtures("watching")
def test_what_a_table_shows_of_a_video_takes_none_of_its_pictures() -> None:
    report, shown = Report(Output.table, None, False), picture(1)
    kept = weakref.ref(shown)
    report.take("clip_000001.jpg", Prediction(seen(1), shown), {})
    del shown
    assert kept() is None


def test_images_and_videos_go_in_the_order_in_which_they_were_named(fake: Fake, run: Run, clip: Path) -> None:
    Image.new("RGB", (8, 8)).save(clip.parent / "a.png")
    (clip.parent / "b.mp4").write_text("none")
    (clip.parent / "notes.txt").write_text("none")
    result = run("predict cells-v@1 -o json --fps 1", str(clip.parent), str(clip))
    found = json.loads(result.stdout)
    assert [Path(one["image"]).name for one in found] == ["a.png", "b.mp4", "clip_000000.jpg", "clip_000000.jpg"]
    assert found[1]["error"]["reason"] == "VIDEO_UNREADABLE"
    assert found[2]["frame"] == 0
    assert result.exit_code == 1


@pytest.mark.usefixtures("watching")
def test_a_video_may_come_through_standard_input(
    run: Run, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # As Matroska, which needs no seeking.
    import av

    piped = io.BytesIO()
    with av.open(str(clip)) as source, av.open(piped, "w", format="matroska") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    piped.seek(0)

    class Pipe:
        buffer = piped

    monkeypatch.setattr(video, "sys", type("fake sys", (), {"stdin": Pipe}))
    result = run("predict cells-v@1 -o json --every 2", "-")
    assert [one["image"] for one in json.loads(result.stdout)] == [f"stdin_00000{n}.jpg" for n in (0, 2, 4)]
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("watching")
def test_who_leaves_a_video_early_leaves_nothing_behind(fake: Fake, client: Client, clip: Path) -> None:
    world.settle(fake)
    frames = client.model_version("cells-v@1").predict_video(clip)
    assert next(frames).image.number == 0
    frames.close()  # type: ignore[attr-defined]
