# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["pylabel==0.1.55", "pandas<3", "pillow"]
# ///
"""PyLabel's COCO, Pascal VOC and YOLO files, with the values that PyLabel reads from them.

Of an image without objects it repeats the last object into its COCO file, so there is none.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pylabel import importer
from sample import BOXES, CLASSES, SIZES, box, image, place, save, write_images

MADE_BY = "PyLabel 0.1.55"


def sample(folder: Path) -> Any:
    """A dataset of PyLabel, of a COCO file that holds the sample."""
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(SIZES.items(), 1)
        if BOXES[name]
    ]
    objects = [(number, label, corners) for number, name in enumerate(SIZES, 1) for label, corners in BOXES[name]]
    annotations = [
        {
            "id": index,
            "image_id": number,
            "category_id": CLASSES.index(label),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "segmentation": [],
            "iscrowd": 0,
        }
        for index, (number, label, (x1, y1, x2, y2)) in enumerate(objects, 1)
    ]
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(CLASSES)]
    path = folder / "in.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    found = importer.ImportCoco(str(path), path_to_images="images")
    path.unlink()
    # Without it PyLabel does not read what it has written.
    found.df["img_depth"] = 3
    return found


def as_read(found: Any, split: str | None = None) -> Mapping[str, Any]:
    expected: dict[str, list[Any]] = {}
    for row in found.df.to_dict("records"):
        shapes = expected.setdefault(f"images/{row['img_filename']}", [])
        if row["cat_name"] in CLASSES:
            corners = [float(row[f"ann_bbox_{side}"]) for side in ("xmin", "ymin", "xmax", "ymax")]
            shapes.append(box(row["cat_name"], *corners))
    return {name: image(shapes, split=split) for name, shapes in expected.items()}


def coco(folder: Path) -> None:
    sample(folder).export.ExportToCoco(str(folder / "dataset.json"))
    expected = as_read(importer.ImportCoco(str(folder / "dataset.json"), path_to_images="images"))
    save("pylabel-coco", MADE_BY, folder, expected, labels=["cat", "dog"])


def voc(folder: Path) -> None:
    sample(folder).export.ExportToVoc(str(folder / "annotations"), segmented_=True, path_=True, folder_=True)
    expected = as_read(importer.ImportVOC(str(folder / "annotations"), path_to_images="../images"))
    save("pylabel-voc", MADE_BY, folder, expected, labels=["cat", "dog"])


def yolo(folder: Path) -> None:
    sample(folder).export.ExportToYoloV5(str(folder / "labels"), yaml_file="dataset.yaml", cat_id_index=0)
    found = importer.ImportYoloV5(
        str(folder / "labels"), path_to_images="../images", cat_names=["cat", "dog"], img_ext="jpg"
    )
    # It writes one folder as that of both.
    save(
        "pylabel-yolo",
        MADE_BY,
        folder,
        as_read(found, "train"),
        labels=["cat", "dog"],
        doubts={"SPLIT_CONFLICT": 2},
    )


for make in (coco, voc, yolo):
    with place() as scratch:
        write_images(scratch / "images", filter(BOXES.get, SIZES))
        make(scratch)
