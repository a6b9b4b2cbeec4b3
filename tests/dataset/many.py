"""Projects of any number of images, made up as they are read."""

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

from bloomery_dataset.annotations import Annotations
from bloomery_dataset.build import BuildRun, Progress
from bloomery_dataset.model import Image, Label, Method, Plan, Product, Spec, SplitPolicy, State, Task, Version
from bloomery_dataset.origins import OfProject
from bloomery_kit.times import utc_now
from bloomery_vision.geometry import Box, Shape
from tests.dataset.helpers import store_at

LABELS = ("common", "frequent", "rare")
RATIO = SplitPolicy(Method.RATIO, 70, 20, 10, seed=7)
_CHUNK = 1000


class ManyImages(Annotations):
    """A project of `count` images."""

    def __init__(self, count: int) -> None:
        self._count = count

    async def images(self, project: str, read_sequence: int) -> AsyncIterator[list[Image]]:
        found = made_up(self._count)
        while chunk := list(islice(found, _CHUNK)):
            yield chunk


def made_up(count: int) -> Iterator[Image]:
    """Images of which two each have one name; with one to four shapes, and every fifth of a patient."""
    for number in range(count):
        draw = random.Random(number)
        patient = {"patient": f"patient {draw.randrange(count // 10)}"} if number % 5 == 0 else {}
        yield Image(
            asset=f"projects/cells/assets/a{number:020x}",
            digest=f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}",
            size_bytes=1000 + number,
            media_type="image/jpeg",
            width=640,
            height=480,
            display_name=f"folder-{number % 3}/IMG_{number % (count // 2):07}.JPG",
            official=("", "train", "val", "test", "other")[number % 5],
            labels=patient,
            sequence=draw.randrange(1 + count // 10),
            shapes=tuple(_shapes(draw)),
        )


def _shapes(draw: random.Random) -> Iterator[Shape]:
    for _ in range(draw.randint(1, 4)):
        label = draw.choices(LABELS, (90, 9, 1))[0]
        yield Shape(Box(draw.randrange(600), draw.randrange(440), 40, 40), label)


async def build(count: int, folder: Path, policy: SplitPolicy = RATIO) -> Product:
    """Build a version of `count` images in `folder`."""
    version = Version(
        uid="0" * 32,
        project="cells",
        project_uid="1" * 32,
        dataset="cells-v",
        number=0,
        spec=Spec("cells", Task.DETECT, policy, {}, include_empty=False),
        state=State.BUILDING,
        create_time=utc_now(),
        update_time=utc_now(),
        sequence=1,
    )
    plan = Plan(1, tuple(Label(label, label) for label in LABELS))
    scratch = folder / "scratch"
    scratch.mkdir()
    origin, store = OfProject(ManyImages(count), "cells"), store_at(folder / "blobs")
    return await BuildRun(version, plan, origin, objects=store, folder=scratch, progress=Progress()).run()
