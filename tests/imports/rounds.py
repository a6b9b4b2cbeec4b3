"""A round: an import, a kill -9 of the server in the middle of it, and everything that must hold in the end."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from bloomery import AsyncClient, Step
from bloomery._aio.project import AsyncProject
from bloomery.annotation.v1 import Import
from bloomery.errors import BloomeryError
from tests.imports.contents import contents, differences
from tests.imports.site import Site, Undisturbed

PATIENCE = 60.0
"""Seconds that each half of a round may take."""
_STRATA = 10
"""So many rounds cover an import evenly."""
_STAYS = 0.25
"""The part of the rounds in which the client lives on."""


@dataclass(frozen=True)
class Hit:
    """When the server is killed, and what becomes of the client.

    Attributes:
        moment: part of the time that an undisturbed import takes.
        absence: seconds until the server is started again.
        stays: whether the client lives on; otherwise it is gone with the server, and somebody imports again.
    """

    moment: float
    absence: float
    stays: bool

    def __str__(self) -> str:
        then = "the client lives on" if self.stays else "the import is begun again"
        return f"killed at {self.moment:.2f} for {self.absence:.1f} s, {then}"


class Reached(Enum):
    """How far the client had got when the server was killed."""

    UPLOADING = "while files travel"
    IMPORTING = "while they are read"
    DONE = "after the end"


@dataclass(frozen=True)
class Outcome:
    """What became of a round.

    Attributes:
        recovery: seconds from the server's return until the client's import was done.
        problems: what should have been otherwise, in words.
    """

    hit: Hit
    reached: Reached
    recovery: float
    problems: Sequence[str]

    def __str__(self) -> str:
        end = "; ".join(self.problems) or "right"
        return f"{self.hit} -> {self.reached.value}, recovery {self.recovery:.1f} s: {end}"


def draw(number: int, *, seed: int) -> Hit:
    """The hit of a round: each part of an import in turn, at a moment of its own."""
    dice = random.Random(f"{seed}/{number}")
    moment = (number % _STRATA + dice.random()) / _STRATA
    return Hit(moment, dice.uniform(0, 0.5), stays=dice.random() < _STAYS)


async def play(site: Site, wanted: Undisturbed, hit: Hit, name: str, patience: float = PATIENCE) -> Outcome:
    """Import the folder into a new project, kill the server, let it come back, and look at everything."""
    problems: list[str] = []
    reached, back, recovery = Reached.UPLOADING, time.monotonic(), 0.0
    async with site.client() as client, _told(problems, patience):
        project = await client.create_project(name)
        importing = _Importing(project, wanted)
        await importing.until(hit.moment * wanted.seconds)
        reached = importing.reached
        site.server.kill()
        if not hit.stays:
            importing.leave()
        await asyncio.sleep(hit.absence)
        site.server.begin()
        await asyncio.to_thread(site.server.wait_until_ready)
        back = time.monotonic()
        problems += await importing.outcome()
    async with site.client() as client, _told(problems, patience):
        if not hit.stays:
            await (await client.project(name)).import_folder(wanted.folder)
        recovery = time.monotonic() - back
        problems += await look(client, name, wanted, patience)
    return Outcome(hit, reached, recovery, [*problems, *site.damaged()])


async def look(client: AsyncClient, name: str, wanted: Undisturbed, patience: float = PATIENCE) -> Sequence[str]:
    """Wait until nothing is imported into a project any more, and say what it should not hold or lacks."""
    project = await client.project(name)
    problems: list[str] = []
    async for one in project.imports():
        async with _told(problems, patience):
            await one.wait()
    return [*problems, *differences(await contents(project), wanted.contents)]


class _Importing:
    """A client that imports a folder."""

    def __init__(self, project: AsyncProject, wanted: Undisturbed) -> None:
        self._steps: list[Step] = []
        self._wanted = wanted
        self._left = False
        self._task = asyncio.create_task(project.import_folder(wanted.folder, progress=self._steps.append))

    async def until(self, seconds: float) -> None:
        """Go on for so long, or to the end."""
        await asyncio.wait([self._task], timeout=seconds)

    @property
    def reached(self) -> Reached:
        """How far it is."""
        if self._task.done():
            return Reached.DONE
        return Reached.IMPORTING if self._steps and self._steps[-1].phase == "importing" else Reached.UPLOADING

    def leave(self) -> None:
        """Let the client be gone."""
        self._left = True
        self._task.cancel()

    async def outcome(self) -> Sequence[str]:
        """What the import tells otherwise than one that was not hit; nothing where the client is gone."""
        if self._left:
            await asyncio.wait([self._task])
            return []
        return _unlike((await self._task).proto, self._wanted.done)


@asynccontextmanager
async def _told(problems: list[str], patience: float = PATIENCE) -> AsyncIterator[None]:
    """Add what goes wrong to the problems."""
    try:
        async with asyncio.timeout(patience):
            yield
    except (BloomeryError, TimeoutError) as error:
        problems.append(f"{type(error).__name__}: {error}")


def _unlike(done: Import, wanted: Import) -> Sequence[str]:
    """What an import that nobody began again tells otherwise than one that was not hit."""
    names = [field.name for field in Import.DESCRIPTOR.fields if field.name.endswith("_count")]
    pairs = {name: (getattr(done, name), getattr(wanted, name)) for name in [*names, "outcomes", "plan"]}
    return [f"{name} is {one}, not {other}" for name, (one, other) in pairs.items() if one != other]
