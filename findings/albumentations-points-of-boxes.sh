#!/usr/bin/env bash
# albumentations flips corners given as keypoints to another place than the box they belong to, a pixel away.
#
# Versions: albumentations 2.0.8, Python 3.11.
# Input:    an image of 100 x 100, the box 10, 20 to 30, 60, and its two corners as keypoints; a flip each way, turns by
#           90 and 180 degrees; and a resize to 200 x 200.
# Expected: the corners of the flipped box are the flipped corners.
# Seen:     the box goes to 70..90, its corners to 69 and 89. A box is mirrored as width - x (x is an edge), a keypoint
#           as width - 1 - x (x is the middle of a pixel). A resize doubles both alike, which is right for edges only:
#           there the middle of a pixel would go to 2 x + 0.5. So a keypoint is neither of the two throughout.
# Why care: oriented boxes and outlines are augmented as keypoints by everybody. After a flip they lie a pixel beside
#           the object, and the box drawn around such an outline is no longer the box that was augmented beside it.
# Instead:  add 1 to what a flip or turn mirrored, or give outlines as masks; points of pixels (joints) are right as
#           they are.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
venv/bin/pip install --quiet --no-compile albumentations==2.0.8 opencv-python-headless==5.0.0.93
NO_ALBUMENTATIONS_UPDATE=1 venv/bin/python - <<'PY'
import albumentations as A
import numpy as np

transforms = {
    "horizontal flip": A.HorizontalFlip(p=1),
    "vertical flip": A.VerticalFlip(p=1),
    "turn by 90": A.Rotate((90, 90), p=1),
    "turn by 180": A.Rotate((180, 180), p=1),
    "resize to 200": A.Resize(200, 200, p=1),
}
off = {}
for name, transform in transforms.items():
    compose = A.Compose(
        [transform],
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]),
        keypoint_params=A.KeypointParams("xy", remove_invisible=False),
    )
    result = compose(
        image=np.zeros((100, 100, 3), np.uint8), bboxes=[(10, 20, 30, 60)], labels=[0], keypoints=[(10, 20), (30, 60)]
    )
    box = np.array(result["bboxes"][0]).reshape(2, 2)
    corners = np.sort(np.array(result["keypoints"]), axis=0)
    off[name] = (corners - box).round(3).tolist()
    print(f"{name}: box {box.round(2).tolist()}, corners {corners.round(2).tolist()}")
right = [[0.0, 0.0], [0.0, 0.0]]
expected = {
    "horizontal flip": [[-1.0, 0.0], [-1.0, 0.0]],
    "vertical flip": [[0.0, -1.0], [0.0, -1.0]],
    "turn by 90": [[0.0, -1.0], [0.0, -1.0]],
    "turn by 180": [[-1.0, -1.0], [-1.0, -1.0]],
    "resize to 200": right,
}
if off != expected:
    raise SystemExit("this is not what the header says")
PY
