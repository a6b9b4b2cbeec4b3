"""Looking for what is wrong with a project's annotations, in pages or as a stream.

Pages hang together because all of them read the sequence of the first one. Their cursor is that sequence, the last
asset that is done with, and how many findings were shown since; those about labels come after those about assets.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from bloomery_annotation import shapes
from bloomery_annotation.model import AnnotationSet, Asset, Problem
from bloomery_annotation.names import MAIN_SET
from bloomery_annotation.reading import CHUNK, Items, Moment, stream
from bloomery_annotation.store import labels, projects
from bloomery_kit.database import Database
from bloomery_kit.errors import FailedPrecondition, FieldViolation, InvalidArgument
from bloomery_kit.pages import Cursor
from bloomery_vision.findings import Finding, Severity, warning
from bloomery_vision.geometry import Geometry, Shape
from bloomery_vision.validate import usable, validate_shape

MOST_IMAGES = 100_000
"""Images that one call has the time to look at."""
_PART = 1000
TINY = 2.0
"""Pixels of a side under which a shape is hardly one that was meant."""


@dataclass(frozen=True)
class Findings:
    """A page of findings; the counts are of the whole project, and 0 on later pages."""

    problems: Sequence[Problem]
    next: Cursor | None
    error_count: int = 0
    warning_count: int = 0
    asset_count: int = 0


@dataclass(frozen=True)
class Part:
    """Findings of a stream, and how much was looked at and found since it began; `after` is done with."""

    sequence: int
    after: str
    problems: Sequence[Problem]
    asset_count: int
    error_count: int
    warning_count: int


@dataclass(frozen=True)
class _Group:
    """The findings about one asset, or about the labels; `before` is the asset that comes before it."""

    sequence: int
    before: str
    problems: Sequence[Problem]
    asset_id: str = ""

    @property
    def is_asset(self) -> bool:
        """Whether it is about an asset."""
        return bool(self.asset_id)


async def validate(db: Database, project_id: str, cursor: Cursor | None, size: int) -> Findings:
    """A page of at most `size` findings. Raise NotFound, or FailedPrecondition PROJECT_TOO_LARGE at the first page."""
    sequence, before, skip = _parse(cursor)
    if cursor is None:
        await _check_size(db, project_id)
    shown: list[tuple[Problem, Cursor]] = []
    counts: Counter[Severity] = Counter()
    seen = 0
    async for group in _groups(db, Moment(project_id, sequence, before, MAIN_SET)):
        seen += group.is_asset
        counts.update(problem.finding.severity for problem in group.problems)
        first = skip if group.before == before else 0
        for number, problem in enumerate(group.problems[first:], first + 1):
            if len(shown) <= size:
                shown.append((problem, (group.sequence, group.before, number)))
        if cursor is not None and len(shown) > size:
            break
    more = shown[size - 1][1] if len(shown) > size else None
    page = [problem for problem, _ in shown[:size]]
    if cursor is not None:
        return Findings(page, more)
    return Findings(page, more, counts[Severity.ERROR], counts[Severity.WARNING], seen)


async def stream_problems(db: Database, moment: Moment) -> AsyncIterator[Part]:
    """All findings, in parts of a few hundred images. Raises what reading the moment raises."""
    counts: Counter[Severity] = Counter()
    seen, after, waiting = 0, moment.after, list[Problem]()
    sequence = moment.sequence

    def part() -> Part:
        return Part(sequence, after, waiting, seen, counts[Severity.ERROR], counts[Severity.WARNING])

    async for group in _groups(db, moment):
        sequence = group.sequence
        for problem in group.problems:
            waiting.append(problem)
            counts[problem.finding.severity] += 1
            if len(waiting) == _PART:
                yield part()
                waiting = []
        if group.is_asset:
            seen, after = seen + 1, group.asset_id
            if seen % CHUNK == 0:
                yield part()
                waiting = []
    yield part()


def check_asset(asset: Asset, found: AnnotationSet | None) -> list[Problem]:
    """Everything that is wrong with the annotations of one image."""
    if found is None:
        hint = "draw its shapes, or save none if there is nothing to see"
        return [Problem(asset.name, warning("UNANNOTATED_IMAGE", "nobody has annotated it", hint=hint))]
    return [Problem(found.name, finding) for finding in _shapes(asset, list(shapes.values(found.blob)))]


def _shapes(asset: Asset, values: Sequence[Shape]) -> Iterator[Finding]:
    first: dict[tuple[Geometry, str], int] = {}
    for number, shape in enumerate(values):
        path = f"shapes[{number}]"
        findings = validate_shape(shape, asset.width, asset.height, path)
        yield from findings
        if usable(findings) and all(finding.code != "ONE_PIXEL" for finding in findings):
            yield from _tiny(shape, path)
        earlier = first.setdefault((shape.geometry, shape.label), number)
        if earlier != number:
            message = f"it is the same {shape.label} as shapes[{earlier}]"
            yield warning("DUPLICATE_SHAPE", message, hint="delete one", path=path)


def _tiny(shape: Shape, path: str) -> Iterator[Finding]:
    around = shape.geometry.bounds
    if around is not None and min(around.width, around.height) < TINY:
        message = f"it is {around.width:g} x {around.height:g} pixels"
        yield warning("TINY_SHAPE", message, hint="a stray click? delete it or draw it again", path=path)


async def _groups(db: Database, moment: Moment) -> AsyncIterator[_Group]:
    before, sequence = moment.after, moment.sequence
    async for sequence, items in stream(db, moment):
        for asset, problems in await asyncio.to_thread(_check_all, items):
            yield _Group(sequence, before, problems, asset.id)
            before = asset.id
    yield _Group(sequence, before, await _unused_labels(db, moment.project_id))


async def _check_size(db: Database, project_id: str) -> None:
    async with db.read() as tx:
        project = await projects.find(tx, project_id)
    if project.asset_count > MOST_IMAGES:
        message = f"{project.name} has {project.asset_count} images, too many to check in one call; use StreamProblems"
        raise FailedPrecondition("PROJECT_TOO_LARGE", message)


def _check_all(items: Items) -> list[tuple[Asset, list[Problem]]]:
    return [(asset, check_asset(asset, found)) for asset, found in items]


async def _unused_labels(db: Database, project_id: str) -> list[Problem]:
    async with db.read() as tx:
        project = await projects.find(tx, project_id)
        unused = [label for label in await labels.everything(tx, project) if not label.shape_count]
    hint = "delete it, or annotate something with it"
    return [Problem(label.name, warning("UNUSED_LABEL", "no shape carries it", hint=hint)) for label in unused]


def _parse(cursor: Cursor | None) -> tuple[int, str, int]:
    match cursor:
        case None:
            return 0, "", 0
        case (int(sequence), str(before), int(skip)):
            return sequence, before, skip
    raise InvalidArgument([FieldViolation("page_token", "is not a token of this request; start without one")])
