"""Imports that change hands: replicas that die, leave, fall asleep or share the work."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery.annotation.v1 import (
    GetImportRequest,
    Import,
)
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.parsing import Parser
from bloomery_annotation.importer.runner import ImportRunner
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import imports as import_store
from bloomery_annotation.store import revisions
from bloomery_annotation.store.imports import Claim, Waiting
from bloomery_annotation.store.tables import REVISIONS
from bloomery_kit import leases
from bloomery_kit.database import Database, Transaction
from tests.annotation.folders import counts, voc_folder
from tests.annotation.helpers import Server, serving


class Halt:
    """Lets calls of a function through, then holds the caller for ever."""

    def __init__(self, real: Callable[..., Any], calls: int) -> None:
        self.real, self.left = real, calls
        self.reached = asyncio.Event()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left == 0:
            self.reached.set()
            await asyncio.Event().wait()
        self.left -= 1
        return await self.real(*args, **kwargs)


class Gate:
    """Lets one call of a function wait, and tells when it does."""

    def __init__(self, real: Callable[..., Any], call: int) -> None:
        self.real, self.left = real, call
        self.reached, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            await self.open.wait()
        return await self.real(*args, **kwargs)


async def die(server: Server) -> None:
    """End a replica's runners as a killed process would: without a word to anybody."""

    async def say_nothing(*_: object, **__: object) -> None:
        return None

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ImportRunner, "_give_up", say_nothing)
        await server.app.loops.close()


async def let_leases_run_out(settings: AnnotationSettings) -> None:
    """What happens to whoever sleeps for longer than a lease."""
    db = Database.connect(settings.database_url, "annotation")
    async with db.write() as tx:
        await leases.free_all(tx)
    await db.close()


@pytest.fixture
def both_settings(deployed_settings: AnnotationSettings) -> AnnotationSettings:
    return deployed_settings


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The imports that were taken, by uid, in order."""
    taken: list[str] = []
    real = import_store.claim

    async def claim(tx: Transaction, wanted: Waiting, *args: Any, **kwargs: Any) -> Claim | None:
        found = await real(tx, wanted, *args, **kwargs)
        taken.extend([found.import_uid] if found else [])
        return found

    monkeypatch.setattr(import_store, "claim", claim)
    return taken


async def stored(settings: AnnotationSettings) -> int:
    """How many revisions there are."""
    db = Database.connect(settings.database_url, "annotation")
    async with db.read() as tx:
        count = await tx.scalar(sa.select(sa.func.count()).select_from(REVISIONS))
    await db.close()
    return int(count or 0)


CRASHES = [
    ("imports", "advance", 0),
    ("imports", "advance", 3),
    ("assets", "ensure", 1),
    ("revisions", "save", 2),
    ("labelling", "ensure", 0),
]
"""Inside which function the process dies, and after how many calls of it that went well."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(import_run, "BATCH", 5)
    return iter(())


@pytest.mark.parametrize(("module", "name", "calls"), CRASHES)
async def test_after_a_crash_another_replica_goes_on_and_nothing_doubles(
    both_settings: AnnotationSettings,
    small_batches: None,
    claims: list[str],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    calls: int,
) -> None:
    owner = getattr(import_run, module)
    halt = Halt(getattr(owner, name), calls)
    patient = both_settings.model_copy(update={"import_lease_seconds": 60})
    async with serving(patient) as first:
        project = await first.project()
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, halt)
            started = await first.start_import(project, voc_folder(23))
            async with asyncio.timeout(50):
                await halt.reached.wait()
            await die(first)
        await let_leases_run_out(both_settings)
        async with serving(patient) as second:
            done = await second.finish(started.name)
    assert done.state == Import.STATE_SUCCEEDED
    assert (done.item_count, done.done_count, *counts(done)) == (23, 23, 23, 23, 0, 0)
    assert await stored(both_settings) == 23
    assert claims == [started.uid] * 2


async def test_a_replica_that_leaves_hands_its_import_over_at_once(
    both_settings: AnnotationSettings, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = both_settings.model_copy(update={"import_lease_seconds": 3600})
    halt = Halt(revisions.save, 1)
    async with serving(slow) as first:
        project = await first.project()
        with monkeypatch.context() as patched:
            patched.setattr(revisions, "save", halt)
            started = await first.start_import(project, voc_folder(12))
            await halt.reached.wait()
            await first.app.loops.close()
        async with serving(slow) as second, asyncio.timeout(50):
            done = await second.finish(started.name)
    assert counts(done) == (12, 12, 0, 0)


async def test_two_replicas_run_each_import_once(
    both_settings: AnnotationSettings, small_batches: None, claims: list[str]
) -> None:
    patient = both_settings.model_copy(update={"import_lease_seconds": 30})
    async with serving(patient) as first, serving(patient) as second:
        project = await first.project()
        files = voc_folder(40)
        names = list(files)
        parts = [{name: files[name] for name in names if int(name[-7:-4]) % 4 == part} for part in range(4)]
        started = [await (first, second)[number % 2].start_import(project, part) for number, part in enumerate(parts)]
        done = await asyncio.gather(*(second.finish(one.name) for one in started))
    assert [counts(one) for one in done] == [(10, 10, 0, 0)] * 4
    assert await stored(both_settings) == 40
    assert sorted(claims) == sorted(one.uid for one in started)


async def test_a_runner_that_was_replaced_writes_nothing_more(
    both_settings: AnnotationSettings, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
    real = ImportRunner._run

    async def run(runner: ImportRunner, claim: Claim) -> None:
        try:
            await real(runner, claim)
        finally:
            ended[claim.lease.epoch].set()

    monkeypatch.setattr(ImportRunner, "_run", run)
    patient = both_settings.model_copy(update={"import_lease_seconds": 60, "import_poll_seconds": 60})
    async with serving(patient) as first:
        project = await first.project()
        sleeper = Gate(Parser.prepare, 2)
        monkeypatch.setattr(Parser, "prepare", lambda *args: sleeper(*args))
        started = await first.start_import(project, voc_folder(12))
        await sleeper.reached.wait()
        await let_leases_run_out(both_settings)
        async with serving(patient) as second:
            successor = Gate(sleeper, 1)
            monkeypatch.setattr(Parser, "prepare", lambda *args: successor(*args))
            await successor.reached.wait()
            before = await second.stub.GetImport(GetImportRequest(name=started.name))
            sleeper.open.set()
            await ended[1].wait()
            assert await second.stub.GetImport(GetImportRequest(name=started.name)) == before
            assert await stored(both_settings) == before.done_count == 5
            successor.open.set()
            done = await second.finish(started.name)
    assert (done.state, *counts(done)) == (Import.STATE_SUCCEEDED, 12, 12, 0, 0)
    assert await stored(both_settings) == 12
