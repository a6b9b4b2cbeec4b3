"""Datumaro as its users run it, in an environment of its own: read a COCO folder, write it again, print seconds."""

import json
import shutil
import sys
import time
from pathlib import Path

import datumaro  # type: ignore[import-not-found]


def main(source: str, target: str) -> None:
    """Print as JSON, for each format, the seconds to read and those to write images with their labels."""
    taken = {}
    for name, kind in (("yolo", "yolo_ultralytics"), ("coco", "coco_instances")):
        shutil.rmtree(target, ignore_errors=True)
        started = time.monotonic()
        dataset = datumaro.Dataset.import_from(source, "coco_instances")
        len(dataset)
        taken[f"{name} read"] = time.monotonic() - started
        started = time.monotonic()
        dataset.export(target, kind, save_media=True)
        taken[name] = time.monotonic() - started
        count = sum(1 for path in Path(target).rglob("*") if path.suffix == ".jpg")
        if count != len(dataset):
            sys.exit(f"Datumaro wrote {count} of {len(dataset)} images as {name}")
    print(json.dumps(taken))


if __name__ == "__main__":
    main(*sys.argv[1:])
