# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["supervision==0.31.2", "opencv-python-headless==5.0.0.93"]
# ///
"""supervision's COCO, Pascal VOC and YOLO files of boxes, with the values that supervision reads from them.

Its reader makes masks of outlines, so that of files of masks the values are those that its writer draws round them.
"""

from pathlib import Path

import numpy as np
import supervision as sv
from sample import BOXES, CLASSES, OUTLINES, SIZES, box, image, outline, place, save, write_images

MADE_BY = "supervision 0.31.2"


def masks(name: str) -> np.ndarray:
    return np.array([sv.polygon_to_mask(np.array(points), SIZES[name]).astype(bool) for _, points in OUTLINES[name]])


def detections(name: str) -> sv.Detections:
    if not OUTLINES[name]:
        return sv.Detections.empty()
    numbers = np.array([CLASSES.index(label) for label, _ in OUTLINES[name]])
    return sv.Detections(sv.mask_to_xyxy(masks(name)).astype(float), mask=masks(name), class_id=numbers)


expected = {
    f"images/{name}": image(
        outline(label, sv.mask_to_polygons(mask)[0]) for (label, _), mask in zip(shapes, masks(name), strict=True)
    )
    for name, shapes in OUTLINES.items()
}
for kind in ("coco", "yolo"):
    with place() as scratch:
        write_images(scratch / "images")
        paths = {name: str(scratch / "images" / name) for name in SIZES}
        dataset = sv.DetectionDataset(
            list(CLASSES), list(paths.values()), {paths[name]: detections(name) for name in SIZES}
        )
        if kind == "coco":
            dataset.as_coco(annotations_path=str(scratch / "annotations.json"))
        else:
            dataset.as_yolo(
                annotations_directory_path=str(scratch / "labels"), data_yaml_path=str(scratch / "data.yaml")
            )
        save(f"supervision-{kind}-outlines", MADE_BY, scratch, expected)


def boxes(name: str) -> sv.Detections:
    if not BOXES[name]:
        return sv.Detections.empty()
    numbers = np.array([CLASSES.index(label) for label, _ in BOXES[name]])
    return sv.Detections(np.array([corners for _, corners in BOXES[name]], dtype=float), class_id=numbers)


def as_read(found: sv.DetectionDataset) -> dict[str, object]:
    return {
        f"images/{Path(path).name}": image(
            box(found.classes[number], *corners) for corners, number in zip(one.xyxy, one.class_id, strict=True)
        )
        for path, _, one in found
    }


for kind in ("coco", "voc", "yolo"):
    with place() as scratch:
        write_images(scratch / "images")
        images, annotations = str(scratch / "images"), str(scratch / "annotations")
        paths = {name: str(scratch / "images" / name) for name in SIZES}
        dataset = sv.DetectionDataset(list(CLASSES), list(paths.values()), {paths[name]: boxes(name) for name in SIZES})
        if kind == "coco":
            dataset.as_coco(annotations_path=f"{annotations}.json")
            found = sv.DetectionDataset.from_coco(images, f"{annotations}.json")
        elif kind == "voc":
            dataset.as_pascal_voc(annotations_directory_path=annotations)
            found = sv.DetectionDataset.from_pascal_voc(images, annotations)
        else:
            config = str(scratch / "data.yaml")
            dataset.as_yolo(annotations_directory_path=str(scratch / "labels"), data_yaml_path=config)
            found = sv.DetectionDataset.from_yolo(images, str(scratch / "labels"), config)
        save(f"supervision-{kind}", MADE_BY, scratch, as_read(found), labels=CLASSES[kind == "voc" :])
