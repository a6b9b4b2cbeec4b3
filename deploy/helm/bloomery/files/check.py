"""What `helm test` does: the way from images to predictions, as a client from outside goes it, through publicEndpoint.

The environment says where that is, as for every client; CHECK_RECIPE which recipe trains, CHECK_RUNTIME what serves.
"""

import hashlib
import os
import random
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw

from bloomery import Client, Project

SIDE = 96
IMAGES = 12
LARGE = 1400
"""Pixels of an image whose bytes are too many for a call: they go to the object store by a signed URL."""


def draw(folder: Path) -> None:
    """Write images with a bright square each and its box in YOLO's format, and a large one of noise."""
    luck = random.Random(7)  # noqa: S311
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text("names: [square]\ntrain: images\nval: images\n")
    for number in range(IMAGES):
        image = Image.new("RGB", (SIDE, SIDE), (luck.randrange(60), luck.randrange(60), luck.randrange(60)))
        side, left, top = 30, luck.randrange(SIDE - 30), luck.randrange(SIDE - 30)
        ImageDraw.Draw(image).rectangle((left, top, left + side, top + side), fill=(230, 200, 40))
        image.save(folder / f"images/{number}.png")
        middle = ((left + side / 2) / SIDE, (top + side / 2) / SIDE)
        box = " ".join(f"{value:.6f}" for value in (*middle, side / SIDE, side / SIDE))
        (folder / f"labels/{number}.txt").write_text(f"0 {box}\n")
    noise = Image.frombytes("RGB", (LARGE, LARGE), luck.randbytes(3 * LARGE * LARGE))
    noise.save(folder / "images/noise.png")
    (folder / "labels/noise.txt").write_text("")


def carry_there_and_back(project: Project, folder: Path, scratch: Path) -> None:
    """Let files make the way into the object store and out of it."""
    done = project.import_folder(folder)
    assert done.state == "SUCCEEDED", done.proto
    for asset in project.assets():
        there = asset.download(scratch / Path(asset.display_name).name)
        sent = (folder / asset.display_name).read_bytes()
        assert hashlib.sha256(there.read_bytes()).digest() == hashlib.sha256(sent).digest(), asset.display_name


def check(client: Client, project: Project, folder: Path, scratch: Path) -> None:
    """Go all the way, and say where we are."""
    print("files", flush=True)
    carry_there_and_back(project, folder, scratch)
    print("dataset version", flush=True)
    version = project.build_dataset(f"{project.id}-v", split="70/15/15", seed=7).wait()
    recipe = os.environ.get("CHECK_RECIPE")
    if not recipe:
        print("no recipe is named, so nothing is trained")
        return
    print(f"training by {recipe}", flush=True)
    job = version.train(recipe, base="scratch", cpus=1, memory=3 << 30, epochs=1, imgsz=64, batch=4).wait()
    runtime: Literal["onnxruntime", "triton"] = "triton" if os.environ["CHECK_RUNTIME"] == "triton" else "onnxruntime"
    print(f"predictions by {runtime}", flush=True)
    door = client.deploy("door", job.model_version().name, runtime=runtime).wait()
    door.predict(folder / "images/0.png", threshold=0.01)


def main() -> int:
    """Do it in a project of its own, which goes afterwards."""
    name = f"helm-test-{uuid.uuid4().hex[:8]}"
    with (
        Client(project=name, token=os.environ["BLOOMERY_TOKEN"].splitlines()[0]) as client,
        tempfile.TemporaryDirectory() as scratch,
    ):
        print("services", flush=True)
        list(client.projects()), list(client.recipes()), list(client.models()), list(client.datasets())
        project = client.create_project(name)
        folder, back = Path(scratch, "there"), Path(scratch, "back")
        folder.mkdir()
        back.mkdir()
        try:
            draw(folder)
            check(client, project, folder, back)
        finally:
            for deployment in client.deployments():
                deployment.delete()
            project.delete(cascade=True, cancel=True)
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
