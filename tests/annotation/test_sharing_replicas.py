"""Whatever happens to the replicas that read an import: what it makes is what one replica makes."""

import asyncio
from typing import Any

import pytest

from bloomery.annotation.v1 import (
    CancelImportRequest,
    DeleteProjectRequest,
    Import,
)
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.settings import AnnotationSettings
from tests.annotation.folders import ended
from tests.annotation.sharing import (
    PARTS,
    Gate,
    Readers,
    check,
    die,
    finish,
    images_in,
    let_run_out,
    two,
    until_none_reads,
)


async def test_the_part_of_a_helper_that_died_is_read_by_another(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = readers.gate(1, 1)
    async with two(replicated, readers) as (first, second, started):
        await helper.reached.wait()
        await die(second, monkeypatch)
        await let_run_out(first, PARTS)
        await check(first, await finish(first, started), wanted)


async def test_the_part_of_a_helper_that_leaves_is_read_at_once(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any]
) -> None:
    patient = replicated.model_copy(update={"import_lease_seconds": 3600})
    helper = readers.gate(1, 2)
    async with two(patient, readers) as (first, second, started):
        await helper.reached.wait()
        await second.app.loops.close()
        await check(first, await finish(first, started), wanted)


@pytest.mark.parametrize("parts", [2, 3])
async def test_a_helper_goes_on_where_the_replica_that_ran_an_import_died(
    replicated: AnnotationSettings,
    readers: Readers,
    wanted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
) -> None:
    leader = readers.gate(0, parts)
    async with two(replicated, readers) as (first, second, started):
        await leader.reached.wait()
        await die(first, monkeypatch)
        await let_run_out(second, "imports/%")
        await check(second, await finish(second, started), wanted)


async def test_a_helper_that_slept_over_its_turn_saves_nothing_and_goes_on(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any]
) -> None:
    helper, leader = readers.gate(1, 1), readers.gate(0, 4)
    async with two(replicated, readers) as (first, second, started):
        await helper.reached.wait()
        await let_run_out(first, PARTS)
        await leader.reached.wait()
        again = readers.gate(1, 2)
        helper.open.set()
        await again.reached.wait()
        again.open.set()
        leader.open.set()
        await check(second, await finish(first, started), wanted)


async def test_a_helper_that_slept_between_its_turn_and_saving_saves_nothing(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sleeper, save, slept = Gate(), import_run._Run._save, list[int]()

    async def sleep_once(run: Any, batch: Any) -> Any:
        if batch.place == 5 and not slept:
            slept.append(batch.place)
            await sleeper()
        return await save(run, batch)

    monkeypatch.setattr(import_run._Run, "_save", sleep_once)
    leader = readers.gate(0, 4)
    async with two(replicated, readers) as (first, second, started):
        await sleeper.reached.wait()
        while not leader.reached.is_set():
            # The sleeper read another part before.
            await let_run_out(first, PARTS)
            await asyncio.sleep(0.02)
        sleeper.open.set()
        leader.open.set()
        await check(second, await finish(first, started), wanted)


async def test_a_helper_of_a_replica_that_was_replaced_writes_nothing_more(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any]
) -> None:
    helper, leader = readers.gate(1, 1), readers.gate(0, 2)
    async with two(replicated, readers) as (first, second, started):
        await helper.reached.wait()
        await leader.reached.wait()
        await first.app.loops.close("imports 1", "imports 2")
        helper.open.set()
        await check(second, await finish(second, started), wanted)


@pytest.mark.parametrize("end", ["cancel", "delete"])
async def test_a_shared_import_ends_for_all_that_read_it(
    replicated: AnnotationSettings, readers: Readers, end: str
) -> None:
    helper = readers.gate(1, 1)
    async with two(replicated, readers) as (first, second, started):
        await helper.reached.wait()
        if end == "cancel":
            await second.stub.CancelImport(CancelImportRequest(name=started.name))
            done = await finish(second, started)
            assert (done.state, done.done_count) == (Import.STATE_CANCELLED, 5)
        else:
            await second.stub.DeleteProject(DeleteProjectRequest(name="projects/p"))
        helper.open.set()
        await until_none_reads(first, started)
        await asyncio.gather(*(server.app.loops.close() for server in (first, second)))
        assert await images_in(first) == (5 if end == "cancel" else 0)


async def test_an_import_is_counted_once_where_a_helper_ends_it(
    replicated: AnnotationSettings, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, leader, slow = readers.gate(1, 1), readers.gate(0, 2), Gate()
    real = Turns.progress

    async def progress(turns: Turns) -> Any:
        if helper.reached.is_set() and turns is next(iter(readers.parts)) and await images_in(first) == 5:
            await slow()
        return await real(turns)

    monkeypatch.setattr(Turns, "progress", progress)
    async with two(replicated, readers) as (first, second, started):
        for gate in (helper, leader, slow):
            await gate.reached.wait()
        before = ended("cancelled")
        await second.stub.CancelImport(CancelImportRequest(name=started.name))
        done = await finish(second, started)
        slow.open.set()
        await asyncio.gather(*(server.app.loops.close() for server in (first, second)))
    assert (done.state, ended("cancelled")) == (Import.STATE_CANCELLED, before + 1)
