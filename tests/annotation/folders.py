"""Labelled folders, and what became of their imports."""

import asyncio

from bloomery.annotation.v1 import Import
from bloomery_kit.metrics import REGISTRY
from tests.annotation.helpers import png


def voc(name: str, *boxes: tuple[str, float, float, float, float], size: tuple[int, int] = (64, 48)) -> bytes:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for label, x1, y1, x2, y2 in boxes
    )
    width, height = size
    head = f"<filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{head}{objects}</annotation>".encode()


def voc_folder(count: int) -> dict[str, bytes]:
    """A folder of images with one box each."""
    files = {f"images/{number:03}.png": png(number) for number in range(count)}
    files |= {f"xml/{number:03}.xml": voc(f"{number:03}.png", ("cell", 1, 1, 10, 10)) for number in range(count)}
    return files


def codes(done: Import) -> dict[str, str]:
    return {problem.item: problem.code for problem in done.problems}


def ended(state: str) -> float:
    """How many imports this process has counted that ended so."""
    return REGISTRY.get_sample_value("bloomery_imports_total", {"state": state}) or 0.0


async def counted(state: str, count: float) -> None:
    """Wait until so many were counted: that comes after the commit, which watchers may see first."""
    async with asyncio.timeout(50):
        while ended(state) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert ended(state) == count


def counts(done: Import) -> tuple[int, ...]:
    return done.asset_count, done.annotated_count, done.unchanged_count, done.failed_count
