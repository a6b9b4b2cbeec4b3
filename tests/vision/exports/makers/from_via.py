# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["pillow"]
# ///
"""What VIA exports: its own JavaScript, run by node beside an empty page. Give it a clone of VIA's repository.

Its reader of COCO takes the second box of an image for an outline, so the values are those that were drawn. In its COCO
files every box is an outline of four corners. Its JSON and CSV are not read.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sample import BOXES, CLASSES, OUTLINES, SIZES, image, outline, place, save, write_images

COMMITS = {"2.0.9": "a66f6c6eab728a83e7d20899e398be35035f256f", "2.0.10": "04a3abd84ea555963a45b65930833bd5cac029ba"}
"""The last ones before outlines of COCO became lists of lists, and before a third version."""
PAGE = """
const {project, sizes, form, sources} = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const node = new Proxy(function () {}, {get: (_, key) => key === Symbol.toPrimitive ? () => "" : node,
  set: () => true, apply: () => node});
const page = {document: node, window: node, console: {log() {}}, File: class {}, project, sizes, form, setTimeout};
require("vm").runInNewContext(sources + `
  show_message = function () {};
  img_stat_set_all = function () { _via_img_stat = sizes; return Promise.resolve(); };
  _via_settings = {core: {default_filepath: ""}};
  _via_attributes = project._via_attributes;
  _via_img_metadata = project._via_img_metadata;
  _via_image_id_list = Object.keys(_via_img_metadata);
  var written = pack_via_metadata(form);
`, page);
page.written.then(parts => process.stdout.write(parts.flat().join("")));
"""


def region(label: str, shape: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"shape_attributes": shape, "region_attributes": {"animal": label}}


def regions(name: str, *, outlines: bool) -> list[Mapping[str, Any]]:
    """What was drawn on an image, as VIA holds it."""
    if outlines:
        return [
            region(
                label,
                {"name": "polygon", "all_points_x": [x for x, _ in points], "all_points_y": [y for _, y in points]},
            )
            for label, points in OUTLINES[name]
        ]
    return [
        region(label, {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1})
        for label, (x1, y1, x2, y2) in BOXES[name]
    ]


def project(folder: Path, *, outlines: bool) -> Mapping[str, Any]:
    attribute = {"type": "radio", "description": "", "options": {name: name for name in CLASSES}, "default_options": {}}
    files = {}
    for name in SIZES:
        size = (folder / name).stat().st_size
        drawn = regions(name, outlines=outlines)
        files[f"{name}{size}"] = {"filename": name, "size": size, "regions": drawn, "file_attributes": {}}
    return {"_via_attributes": {"region": {"animal": attribute}, "file": {}}, "_via_img_metadata": files}


def write(version: str, form: str, path: Path, *, outlines: bool = False) -> None:
    source = ["git", "-C", sys.argv[1], "show", f"{COMMITS[version]}:via-2.x.y/src/via.js"]
    about = {
        "project": project(path.parent, outlines=outlines),
        "sizes": list(SIZES.values()),
        "form": form,
        "sources": subprocess.run(source, check=True, capture_output=True, text=True).stdout,
    }
    done = subprocess.run(["node", "-e", PAGE], input=json.dumps(about), check=True, capture_output=True, text=True)
    path.write_text(done.stdout, encoding="utf-8")


def corners(x1: float, y1: float, x2: float, y2: float) -> list[tuple[float, float]]:
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


EXPECTED = {
    False: {name: image(outline(label, corners(*box)) for label, box in BOXES[name]) for name in SIZES},
    True: {name: image(outline(label, points) for label, points in OUTLINES[name]) for name in SIZES},
}
for version in COMMITS:
    for outlines, expected in EXPECTED.items():
        with place() as scratch:
            write_images(scratch)
            write(version, "coco", scratch / "via_project_coco.json", outlines=outlines)
            kind = "coco-outlines" if outlines else "coco"
            save(f"via-{version}-{kind}", f"VGG Image Annotator {version}", scratch, expected)
for form in ("json", "csv"):
    with place() as scratch:
        write_images(scratch)
        write("2.0.10", form, scratch / f"via_project.{form}")
        nothing = {name: image([], annotated=False) for name in SIZES}
        save(f"via-{form}", "VGG Image Annotator 2.0.10", scratch, nothing, labels=[], unread="VIA")
