"""Labelled images to measure with: all of blood-cells where BLOOMERY_TEST_DATA has them, else the sample."""

import os
import re
import shutil
from pathlib import Path

from harness.measure import ROOT
from harness.server import Server

WEIGHTS = "yolov8n.pt"


def real_data() -> Path | None:
    """The folder with the real data sets, where there is one."""
    folder = os.environ.get("BLOOMERY_TEST_DATA")
    return Path(folder).resolve() if folder else None


def blood_cells() -> Path:
    """A Pascal VOC folder: 364 images with their official split, or the 60 of the sample."""
    return (real_data() or ROOT / "examples") / "blood-cells"


def weights() -> Path | None:
    """Base weights of a YOLOv8n, where there are any."""
    folder = real_data()
    found = sorted((folder / "weights").glob("yolov8n*.pt")) if folder else []
    return found[0] if found else None


def sample(target: Path, count: int) -> Path:
    """The first `count` images of blood-cells with their annotations, without a split."""
    for annotation in sorted((blood_cells() / "Annotations").glob("*.xml"))[:count]:
        image = blood_cells() / "JPEGImages" / f"{annotation.stem}.jpg"
        for file in (annotation, image):
            folder = target / file.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)
    return target


def small_version(server: Server, place: Path) -> str:
    """The name of a small dataset version on a server."""
    # The client's event loop is closed before others are opened: gRPC's cannot tell them apart.
    with server.client() as client:
        project = client.create_project("cells")
        project.import_folder(sample(place / "sample", 20))
        return project.build_dataset("cells-v", split="70/20/10").wait().name


def copies(target: Path, count: int) -> Path:
    """Every image of blood-cells `count` times, with a comment inside that makes the bytes differ."""
    source = blood_cells()
    for folder in ("Annotations", "JPEGImages"):
        (target / folder).mkdir(parents=True)
    for annotation in sorted((source / "Annotations").glob("*.xml")):
        pixels = (source / "JPEGImages" / f"{annotation.stem}.jpg").read_bytes()
        text = annotation.read_text(encoding="utf-8")
        for number in range(count):
            stem = f"{annotation.stem}_{number}"
            (target / "JPEGImages" / f"{stem}.jpg").write_bytes(commented(pixels, str(number)))
            renamed = re.sub("<filename>.*?</filename>", f"<filename>{stem}.jpg</filename>", text)
            (target / "Annotations" / f"{stem}.xml").write_text(renamed, encoding="utf-8")
    return target


def commented(jpeg: bytes, text: str) -> bytes:
    """A JPEG with a comment inside, which makes it other bytes and the same picture."""
    comment = text.encode()
    # A COM segment right after the start of the image; its length counts itself (ITU-T T.81, B.2.4.5).
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]
