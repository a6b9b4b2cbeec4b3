"""A large import that several replicas read: who takes which parts of it, and what it makes."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from bloomery.annotation.v1 import (
    Import,
    ListAssetsRequest,
    ListLabelsRequest,
    StreamAnnotationSetsRequest,
)
from bloomery_annotation.importer.runner import ImportRunner
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.model import ImportCounts
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import import_parts, imports
from bloomery_annotation.store.imports import Claim, Waiting
from bloomery_annotation.store.tables import LEASES, PROJECTS
from bloomery_kit.times import utc_now
from tests.annotation.folders import voc
from tests.annotation.helpers import Server, png, serving

COUNT = 43
_OWN = {"uid", "etag", "createTime", "updateTime"}
"""What differs from one run to the next. The sequence of an import counts its steps too."""


def folder() -> dict[str, bytes]:
    """Images of which some are twins of ones far before, with the same shapes or others; broken label files."""
    files = {f"{number:02}.png": png(number % 37) for number in range(COUNT)}
    files |= {f"{number:02}.xml": _labels(number) for number in range(COUNT) if number not in (3, 11)}
    return files | {"08.xml": b"<annotation>", "lost.xml": voc("", ("cell", 1, 1, 9, 9))}


def _labels(number: int) -> bytes:
    # From the 40th on as the twin says.
    same = number % 37 if number >= 40 else number
    return voc(f"{number:02}.png", ("cell", 1, 1, 10 + same, 10), (f"kind {same // 7}", 2, 2, 9, 9))


class Gate:
    """Where somebody waits until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


class Readers:
    """Who takes which parts. Whoever leads waits after its first until somebody helps."""

    def __init__(self) -> None:
        self.parts: defaultdict[Turns, list[int]] = defaultdict(list)
        self.is_led, self.are_several = asyncio.Event(), asyncio.Event()
        self.gates: dict[tuple[int, int], Gate] = {}
        """Where the reader of a number waits once it has taken its so many parts; the leader is 0."""
        self._take = Turns.take

    def gate(self, reader: int, parts: int) -> Gate:
        return self.gates.setdefault((reader, parts), Gate())

    async def take(self, turns: Turns, *, ahead: bool) -> Any:
        if turns in self.parts:
            await self.are_several.wait()
        if taken := await self._take(turns, ahead=ahead):
            self.parts[turns].append(taken.start // 5)
            self.is_led.set()
            if len(self.parts) > 1:
                self.are_several.set()
            if gate := self.gates.get(([*self.parts].index(turns), len(self.parts[turns]))):
                await gate()
        return taken


async def contents(server: Server, done: Import) -> dict[str, Any]:
    """All of a project and its import, in order."""
    stub, parent = server.stub, "projects/p"
    assets = await stub.ListAssets(ListAssetsRequest(parent=parent, page_size=1000))
    labels = await stub.ListLabels(ListLabelsRequest(parent=parent))
    sets = [one async for one in stub.StreamAnnotationSets(StreamAnnotationSetsRequest(parent=parent))]
    done = Import.FromString(done.SerializeToString())
    done.ClearField("sequence")
    return {
        "import": _plain(done),
        "assets": _plain(assets)["assets"],
        "labels": _plain(labels)["labels"],
        "sets": [item for one in sets for item in _plain(one).get("items", [])],
    }


def _plain(message: Message) -> Any:
    return without(MessageToDict(message), _OWN)


def without(value: Any, keys: AbstractSet[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(one, keys) for key, one in value.items() if key not in keys}
    return [without(one, keys) for one in value] if isinstance(value, list) else value


async def begin(server: Server) -> Import:
    project = await server.project()
    return await server.start_import(project, folder(), display_name="all")


async def finish(server: Server, started: Import) -> Import:
    async with asyncio.timeout(30):
        return await server.finish(started.name)


async def check(server: Server, done: Import, wanted: dict[str, Any]) -> None:
    """Whether a project holds what it is to hold, whatever its import is called."""
    found = await contents(server, done)
    assert renamed(found, done.name) == wanted
    assert await leases_of(server, done) == []


def renamed(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: renamed(one, name) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one, name) for one in value]
    return value.replace(name, "IMPORT") if isinstance(value, str) else value


async def leases_of(server: Server, done: Import) -> list[str]:
    async with server.app._db.read() as tx:
        return list(await tx.scalars(sa.select(LEASES.c.name).where(LEASES.c.name.contains(done.uid))))


async def images_in(server: Server) -> int:
    """How many images there are."""
    async with server.app._db.read() as tx:
        return await tx.scalar(sa.select(sa.func.coalesce(sa.func.max(PROJECTS.c.asset_count), 0))) or 0


async def until_none_reads(server: Server, started: Import) -> None:
    while await leases_of(server, started):  # noqa: ASYNC110 - another process may be the one that ends it
        await asyncio.sleep(0.02)


async def die(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a replica's loops as a killed process would: without a word to anybody."""

    async def say_nothing(*_: object, **__: object) -> None:
        return None

    with monkeypatch.context() as patched:
        patched.setattr(ImportRunner, "_give_up", say_nothing)
        patched.setattr(Turns, "leave", say_nothing)
        await server.app.loops.close()


async def claimed(server: Server, started: Import, holder: str, project: str = "p") -> Claim:
    """The claim of somebody who shares an import."""
    async with server.app._db.write() as tx:
        claim = await imports.claim(tx, Waiting(project, started.uid), utc_now(), holder=holder, term=30)
        assert claim
        await imports.advance(tx, claim, ImportCounts(item_count=COUNT), utc_now())
        await import_parts.share(tx, claim)
    return claim


async def let_run_out(server: Server, names: str) -> None:
    """What happens to the leases of whoever is silent for long."""
    async with server.app._db.write() as tx:
        await tx.execute(sa.update(LEASES).where(LEASES.c.name.like(names)).values(expires=0))


PARTS = "imports/%/%"


@asynccontextmanager
async def two(settings: AnnotationSettings, readers: Readers) -> AsyncIterator[tuple[Server, Server, Import]]:
    """A replica that runs an import, and one that comes to its help."""
    async with asyncio.timeout(30), serving(settings) as first:
        started = await begin(first)
        await readers.is_led.wait()
        async with serving(settings) as second:
            yield first, second, started


async def made_by_one(server: Server) -> dict[str, Any]:
    """What one replica makes."""
    done = await finish(server, await begin(server))
    assert (done.state, done.item_count, done.done_count) == (Import.STATE_SUCCEEDED, COUNT, COUNT)
    assert done.outcomes.repeated == 6
    assert dict(done.problem_counts) == {"DUPLICATE_IMAGE": 3, "BROKEN_FILE": 1, "MISSING_IMAGE": 1}
    return dict(renamed(await contents(server, done), done.name))
