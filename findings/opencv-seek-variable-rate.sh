#!/usr/bin/env bash
# OpenCV's seek by frame number gives other frames in a video of a variable rate, as phones and screen recorders make.
#
# Versions: opencv-python-headless 5.0.0.93 (FFmpeg backend), av 18.1.0 to write the video, Python 3.11.
# Input:    an MP4 (H.264) of 200 frames that carry their number as bars: 100 frames 40 ms apart, then 100 of 120 ms.
#           The same frames once more, all 40 ms apart.
# Expected: after `set(CAP_PROP_POS_FRAMES, n)`, `read` gives frame n: the one that is n-th when all are read in turn.
# Seen:     right in the even video. In the other one frame 42 comes as 58 and 70 as 117: the number is turned into a
#           time by the average rate. `get(CAP_PROP_POS_FRAMES)` says that it is where it was asked to be, and the count
#           of frames is right; the last frames asked for are not read at all.
# Why care: labels by frame number (CVAT, MOT, most trackers) land on other pictures than the ones that were labelled.
# Instead:  read in turn and count, or keep time stamps with the labels and seek by them with PyAV.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile opencv-python-headless==5.0.0.93 av==18.1.0
venv/bin/python - <<'PY'
from collections.abc import Callable
from fractions import Fraction

import av
import cv2
import numpy as np

MILLISECOND = Fraction(1, 1000)


def write(path: str, when: Callable[[int], int]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "50"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.time_base = MILLISECOND
        for number in range(200):
            bars = np.array([number >> bit & 1 for bit in range(8)], np.uint8).repeat(16) * 255
            frame = av.VideoFrame.from_ndarray(np.broadcast_to(bars[None, :, None], (64, 128, 3)).copy(), "rgb24")
            frame.pts, frame.time_base = when(number), MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def number(picture: np.ndarray) -> int:
    return sum(int(picture[32, 16 * bit + 8].mean() > 127) << bit for bit in range(8))


def looked_up(path: str) -> tuple[list[int], dict[int, int | None]]:
    """The frames in turn, and those that were asked for by number (None: nothing was read)."""
    video = cv2.VideoCapture(path)
    in_turn = []
    while (got := video.read())[0]:
        in_turn.append(number(got[1]))
    asked: dict[int, int | None] = {}
    for wanted in range(0, 200, 7):
        video.set(cv2.CAP_PROP_POS_FRAMES, wanted)
        there = video.get(cv2.CAP_PROP_POS_FRAMES)
        done, picture = video.read()
        asked[wanted] = number(picture) if done else None
        if done and there != wanted:
            print(f"asked for {wanted}, it says that it is at {there}")
    print(path, "frames stated:", int(video.get(cv2.CAP_PROP_FRAME_COUNT)), "read:", len(in_turn))
    return in_turn, asked


write("even.mp4", lambda number: 40 * number)
write("variable.mp4", lambda number: 40 * number + 80 * max(0, number - 100))
wrong = {}
for path in ("even.mp4", "variable.mp4"):
    in_turn, asked = looked_up(path)
    wrong[path] = {wanted: got for wanted, got in asked.items() if wanted != got}
    print(f"{path}: {len(wrong[path])} of {len(asked)} are other frames (asked for: got) {wrong[path]}")
    if in_turn != list(range(200)):
        raise SystemExit("this is not what the header says")
if wrong["even.mp4"] or len(wrong["variable.mp4"]) < 15:
    raise SystemExit("this is not what the header says")
PY
