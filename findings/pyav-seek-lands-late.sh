#!/usr/bin/env bash
# PyAV's backward seek lands behind the wanted frame in fragmented MP4 and MPEG-TS.
#
# Versions: av 18.1.0 (with its own FFmpeg), Python 3.11.
# Input:    200 frames of H.264 with B-frames, the same in MP4, Matroska, fragmented MP4 and MPEG-TS. For every frame:
#           `container.seek(frame.pts, stream=stream)`, then the first frame that is decoded.
# Expected: as documented for `backward=True`: a key frame at or before the place, from which one decodes on to it.
# Seen:     so it is in MP4 and Matroska. In fragmented MP4 the two frames before each key frame are missed, as the key
#           frame itself comes first; in MPEG-TS no seek at all lands right. Seeking goes by decoding times there, and
#           these are smaller than the times at which frames are shown.
# Why care: "decode until pts >= wanted" returns a later picture and looks right, as no error is raised. Such files come
#           from cameras and streams.
# Instead:  look whether the first frame is behind the wanted one; if so seek further back (a second, then twice as
#           much), at last from the start.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
from fractions import Fraction

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)


def write(path: str, options: dict[str, str]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 64, 128, 3), np.uint8)
    with av.open(path, "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "40", "bf": "2", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        stream.codec_context.time_base = MILLISECOND
        for number in range(200):
            frame = av.VideoFrame.from_ndarray(np.roll(pictures[0], number, axis=1), "rgb24")
            frame.pts, frame.time_base = 40 * number, MILLISECOND
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def missed(path: str) -> list[int]:
    """Frames whose seek leads behind them, or to nothing."""
    with av.open(path) as container:
        times = [frame.pts for frame in container.decode(video=0)]
    if len(times) != 200:
        raise SystemExit(f"{path}: {len(times)} frames")
    late = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        for number, time in enumerate(times):
            container.seek(time, stream=stream)
            first = next(container.decode(stream), None)
            if first is None or first.pts > time:
                late.append(number)
    return late


av.logging.set_level(av.logging.PANIC)
fragments = {"movflags": "frag_keyframe+empty_moov"}
seen = {}
for path, options in (("plain.mp4", {}), ("plain.mkv", {}), ("fragmented.mp4", fragments), ("stream.ts", {})):
    write(path, options)
    seen[path] = missed(path)
    print(f"{path}: {len(seen[path])} of 200 seeks miss their frame: {seen[path][:10]}")
before_keys = [frame for key in range(40, 200, 40) for frame in (key - 2, key - 1)]
if seen != {"plain.mp4": [], "plain.mkv": [], "fragmented.mp4": before_keys, "stream.ts": list(range(200))}:
    raise SystemExit("this is not what the header says")
PY
