# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["supervision==0.31.2", "opencv-python-headless==5.0.0.93"]
# ///
"""supervision's COCO and YOLO files of masks: the outlines that its writers draw, as the files hold them.

Its own reader makes masks of them again, so the outlines are those that the same function draws round the masks.
"""

import numpy as np
import supervision as sv
from sample import CLASSES, OUTLINES, SIZES, image, outline, place, save, write_images

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
