"""Reading a whole project as it was at one of its sequences, in short transactions and bounded memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from bloomery_annotation.model import AnnotationSet, Asset
from bloomery_annotation.store import annotation_sets, assets, projects
from bloomery_kit.database import Database
from bloomery_kit.errors import OutOfRange

CHUNK = 200

Items = list[tuple[Asset, AnnotationSet | None]]


@dataclass(frozen=True)
class Moment:
    """What to read: one set of every asset after the id `after`, as it was at `sequence` (0 for now)."""

    project_id: str
    sequence: int
    after: str
    set_id: str


async def stream(db: Database, moment: Moment) -> AsyncIterator[tuple[int, Items]]:
    """The sequence that is read, and assets with their sets by asset id, in chunks; the only one may be empty.

    Raises:
        OutOfRange: the sequence is in the future.
        NotFound: there is no such project, or no more.
    """
    sequence, items = await _chunk(db, moment)
    moment = replace(moment, sequence=sequence)
    yield sequence, items
    while items:
        moment = replace(moment, after=items[-1][0].id)
        sequence, items = await _chunk(db, moment)
        if items:
            yield sequence, items


async def _chunk(db: Database, moment: Moment) -> tuple[int, Items]:
    async with db.read() as tx:
        project = await projects.find(tx, moment.project_id)
        sequence = moment.sequence or project.sequence
        if sequence > project.sequence:
            message = f"{project.name} is at sequence {project.sequence}, not yet at {sequence}"
            raise OutOfRange("SEQUENCE_IN_FUTURE", message, 0, project.sequence)
        found = await assets.at(tx, project, sequence, moment.after, CHUNK)
        return sequence, await annotation_sets.at(tx, project, found, moment.set_id, sequence)
