# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["labelme2yolo==0.4.0", "pillow"]
# ///
"""What labelme2yolo makes of LabelMe's files; it reads none of it, so the values are those that it was given."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "labelme2yolo 0.4.0"


def write(folder: Path, kind: str) -> None:
    """LabelMe's files, one an image, beside the images."""
    write_images(folder)
    for name, (width, height) in SIZES.items():
        shapes = [
            {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}}
            for label, points in (
                OUTLINES[name]
                if kind == "polygon"
                else [(label, [(x1, y1), (x2, y2)]) for label, (x1, y1, x2, y2) in BOXES[name]]
            )
        ]
        about = {"version": "5.5.0", "flags": {}, "imagePath": name, "imageData": None}
        about |= {"imageWidth": width, "imageHeight": height, "shapes": shapes}
        (folder / name).with_suffix(".json").write_text(json.dumps(about))


BOXES_READ = {name: [box(label, *corners) for label, corners in shapes] for name, shapes in BOXES.items()}
OUTLINES_READ = {name: [outline(label, points) for label, points in shapes] for name, shapes in OUTLINES.items()}
for kind, written, expected in (("bbox", "rectangle", BOXES_READ), ("polygon", "polygon", OUTLINES_READ)):
    with place() as scratch:
        write(scratch / "in", written)
        tool = shutil.which("labelme2yolo", path=str(Path(sys.executable).parent)) or "labelme2yolo"
        options = ["--output_format", kind, "--include_background", "--val_size", "0.4", "--workers", "1"]
        subprocess.run([tool, "--json_dir", scratch / "in", *options, "-o", scratch / "out", *CLASSES], check=True)
        found = {path.relative_to(scratch / "out") for path in (scratch / "out").rglob("*.jpg")}
        # The split is random, and may leave one without images.
        empty = {"train", "val"}.difference(*(path.parts for path in found))
        # It writes an image of the sample as `a b_1a2b3c4d.jpg`.
        save(
            f"labelme2yolo-{kind}",
            MADE_BY,
            scratch / "out",
            {
                path.as_posix(): image(
                    expected[f"{path.stem.rpartition('_')[0]}.jpg"], split="val" if "val" in path.parts else "train"
                )
                for path in found
            },
            doubts={"EMPTY_SPLIT": len(empty)} if empty else {},
        )
