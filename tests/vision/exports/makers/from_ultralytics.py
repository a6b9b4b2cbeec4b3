# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["ultralytics==8.4.190"]
# ///
"""Predictions of outlines, oriented boxes and poses that Ultralytics saves, and COCO that it converts to its own form.

The values are those that its loader of label files reads; of predictions the score is left out for it, as the loader
takes none.
"""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images
from ultralytics.data.converter import convert_coco
from ultralytics.data.utils import verify_image_label
from ultralytics.engine.results import Results

MADE_BY = "Ultralytics 8.4.190"
SCORES = (0.91, 0.5)


def rows(name: str) -> torch.Tensor:
    """The boxes of an image with scores and classes."""
    shapes = zip(BOXES[name], SCORES, strict=False)
    found = [[*corners, score, CLASSES.index(label)] for (label, corners), score in shapes]
    return torch.tensor(found, dtype=torch.float32).reshape(-1, 6)


def masks(name: str) -> torch.Tensor:
    width, height = SIZES[name]
    found = []
    for _, points in OUTLINES[name]:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.array(points, np.int32)], 1)
        found.append(mask)
    return torch.tensor(np.array(found))


def turned(name: str) -> torch.Tensor:
    """The same boxes as centres and sides, turned by an eighth of pi."""
    found = rows(name)
    centres, sides = (found[:, :2] + found[:, 2:4]) / 2, found[:, 2:4] - found[:, :2]
    return torch.cat([centres, sides / 2, torch.full((len(found), 1), math.pi / 8), found[:, 4:]], 1)


def joints(name: str) -> torch.Tensor:
    """Three joints within each box, with how sure they are."""
    parts = torch.tensor([[0.2, 0.3], [0.5, 0.5], [0.7, 0.9]])
    corners = rows(name)[:, None, :4]
    points = corners[..., :2] + parts * (corners[..., 2:] - corners[..., :2])
    return torch.cat([points, torch.full((*points.shape[:2], 1), 0.75)], 2)


def predictions(name: str, kind: str) -> Results:
    width, height = SIZES[name]
    about = {"orig_img": np.zeros((height, width, 3), np.uint8), "path": name, "names": dict(enumerate(CLASSES))}
    match kind:
        case "outlines":
            return Results(**about, boxes=rows(name), masks=masks(name))
        case "oriented":
            return Results(**about, obb=turned(name))
    return Results(**about, boxes=rows(name), keypoints=joints(name))


def read(folder: Path, name: str, kind: str, score: str) -> list[Any]:
    """What Ultralytics reads of a label file: it takes no scores, so they go before."""
    width, height = SIZES[name]
    path = folder / "plain.txt"
    lines = (folder / "labels" / name).with_suffix(".txt").read_text().splitlines()
    path.write_text("\n".join(line.rpartition(" ")[0] if score else line for line in lines))
    count = 3 if kind == "pose" else 0
    known = (str(folder / "images" / name), str(path), "", bool(count), len(CLASSES), count, count, False)
    _, boxes, _, segments, *_ = verify_image_label(known)
    path.unlink()
    scores = [line.rpartition(" ")[2] for line in lines]
    shapes = []
    for number, (index, x, y, w, h) in enumerate(boxes.tolist()):
        label, facts = f"class_{int(index)}", {"score": scores[number]} if score else {}
        if segments:
            shapes.append(outline(label, segments[number] * (width, height), **facts))
        else:
            sides = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
            shapes.append(box(label, *sides, **facts))
    return shapes


def make(folder: Path, kind: str, score: str) -> None:
    names = [name for name in SIZES if BOXES[name]]
    write_images(folder / "images", names)
    for name in names:
        predictions(name, kind).save_txt(str((folder / "labels" / name).with_suffix(".txt")), save_conf=bool(score))
    expected = {f"images/{name}": image(read(folder, name, kind, score)) for name in names}
    doubts = {"NO_CLASS_NAMES": len(names)} | ({"PREDICTIONS": 3} if score else {})
    if kind == "pose":
        doubts["KEYPOINTS_GUESSED"] = 3
    save(
        f"ultralytics-{kind}{score}",
        f"{MADE_BY}, Results.save_txt",
        folder,
        expected,
        labels=["class_1", "class_2"],
        doubts=doubts,
        problems={"KEYPOINTS_IGNORED": len(names)} if kind == "pose" else None,
    )


def convert(folder: Path) -> None:
    """What Ultralytics makes of a COCO file, which it reads as its own."""
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(SIZES.items(), 1)
    ]
    objects = [(one, *shape) for one in images for shape in OUTLINES[str(one["file_name"])]]
    annotations = [
        {
            "id": index,
            "image_id": one["id"],
            "category_id": CLASSES.index(label) + 1,
            "segmentation": [[number for point in points for number in point]],
            "bbox": [
                min(x for x, _ in points),
                min(y for _, y in points),
                max(x for x, _ in points) - min(x for x, _ in points),
                max(y for _, y in points) - min(y for _, y in points),
            ],
            "area": 1,
            "iscrowd": 0,
        }
        for index, (one, label, points) in enumerate(objects, 1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    (folder / "in").mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "in" / "instances_train.json").write_text(json.dumps(content))
    convert_coco(str(folder / "in"), str(folder / "out"), use_segments=True, cls91to80=False)
    out = folder / "out"
    write_images(out / "images" / "train")
    expected = {}
    for name in SIZES:
        found = next(out.rglob(f"{Path(name).stem}.txt"), None)
        known = (str(out / "images" / "train" / name), str(found), "", False, len(CLASSES), 0, 0, False)
        _, boxes, _, segments, *_ = verify_image_label(known)
        shapes = [
            outline(f"class_{int(row[0])}", points * SIZES[name])
            for row, points in zip(boxes.tolist(), segments or (), strict=True)
        ]
        expected[f"images/train/{name}"] = image(shapes, split="train", annotated=found is not None)
    labels, doubts = ["class_1", "class_2"], {"NO_CLASS_NAMES": 2}
    save("ultralytics-converted", f"{MADE_BY}, convert_coco", out, expected, labels=labels, doubts=doubts)


for what in ("outlines", "oriented", "pose"):
    for ending in ("", "-conf"):
        with place() as scratch:
            make(scratch, what, ending)
with place() as scratch:
    convert(scratch)
