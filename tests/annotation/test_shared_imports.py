"""One large import that several replicas read: what it makes is what one replica makes, whatever happens to them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from bloomery.annotation.v1 import (
    FORMAT_IMAGES,
    FORMAT_YOLO,
    CancelImportRequest,
    DeleteProjectRequest,
    Import,
    ListAssetsRequest,
    ListLabelsRequest,
    Project,
    StreamAnnotationSetsRequest,
)
from bloomery_annotation.importer import parsing, runner
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.runner import ImportRunner
from bloomery_annotation.importer.turns import Turns
from bloomery_annotation.model import ImportCounts, ImportState
from bloomery_annotation.settings import AnnotationSettings
from bloomery_annotation.store import import_parts, imports, projects
from bloomery_annotation.store.imports import Claim, Waiting
from bloomery_annotation.store.tables import IMPORTS, LEASES, PROJECTS
from bloomery_kit.database import Database, Transaction
from bloomery_kit.leases import LeaseLost
from bloomery_kit.times import utc_now
from real_parts.minio import MinioServer
from tests.annotation.folders import ended, voc
from tests.annotation.helpers import Server, bucket_store, folder_store, png, serving, settings_for
from tests.passes import Work, fail_first, turns

COUNT = 43
_OWN = {"uid", "etag", "createTime", "updateTime"}
"""What differs from one run to the next. The sequence of an import counts its steps too."""


@pytest.fixture
def replicated(migrated_postgres_url: str, tmp_path: Path) -> AnnotationSettings:
    settings = settings_for(migrated_postgres_url, folder_store(tmp_path / "blobs"))
    return settings.model_copy(update={"import_lease_seconds": 3600, "import_poll_seconds": 0.05})


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a large folder whose label files are read in a sample only: the rest of the labels comes with them."""
    monkeypatch.setattr(import_run, "BATCH", 5)
    monkeypatch.setattr(import_run, "listed", lambda _plan: [])


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


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> Readers:
    found = Readers()
    monkeypatch.setattr(Turns, "take", lambda turns, *, ahead: found.take(turns, ahead=ahead))
    return found


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
    return _without(MessageToDict(message), _OWN)


def _without(value: Any, keys: AbstractSet[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(one, keys) for key, one in value.items() if key not in keys}
    return [_without(one, keys) for one in value] if isinstance(value, list) else value


async def begin(server: Server) -> Import:
    project = await server.project()
    return await server.start_import(project, folder(), display_name="all")


async def finish(server: Server, started: Import) -> Import:
    async with asyncio.timeout(30):
        return await server.finish(started.name)


async def check(server: Server, done: Import, wanted: dict[str, Any]) -> None:
    """Whether a project holds what it is to hold, whatever its import is called."""
    found = await contents(server, done)
    assert _renamed(found, done.name) == wanted
    assert await leases_of(server, done) == []


def _renamed(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(one, name) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, name) for one in value]
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


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return {}


@pytest.fixture
async def wanted(made: dict[str, Any], settings: AnnotationSettings, small_parts: None) -> dict[str, Any]:
    """What one replica makes, each time."""
    if made:
        return made
    async with serving(settings) as server:
        done = await finish(server, await begin(server))
        assert (done.state, done.item_count, done.done_count) == (Import.STATE_SUCCEEDED, COUNT, COUNT)
        assert done.outcomes.repeated == 6
        assert dict(done.problem_counts) == {"DUPLICATE_IMAGE": 3, "BROKEN_FILE": 1, "MISSING_IMAGE": 1}
        made |= _renamed(await contents(server, done), done.name)
        return made


async def test_replicas_that_share_an_import_make_what_one_makes(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any]
) -> None:
    async with serving(replicated) as first, serving(replicated) as second:
        done = await finish(second, await begin(first))
        await check(first, done, wanted)
    taken = sorted(number for numbers in readers.parts.values() for number in numbers)
    assert taken == [*range(9)]
    assert len(readers.parts) == 2


async def test_nothing_is_kept_of_who_read_parts_that_are_saved(
    replicated: AnnotationSettings, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, advance = list[str](), imports.advance

    async def look(tx: Transaction, *given: Any, **more: Any) -> None:
        if more.get("state", ImportState.RUNNING).terminal:
            left.extend(await tx.scalars(sa.select(LEASES.c.name).where(LEASES.c.name.like(PARTS))))
        await advance(tx, *given, **more)

    monkeypatch.setattr(imports, "advance", look)
    async with serving(replicated) as first, serving(replicated) as second:
        await finish(second, await begin(first))
    assert sum(map(len, readers.parts.values())) == 9
    # Whoever has saved a part forgets it right afterwards.
    assert len(left) <= 1


async def test_a_replica_that_waits_for_its_turn_writes_nothing(
    replicated: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        claim = await claimed(server, await begin(server), "leader")
        mine, others = (Turns(server.app._db, claim, range(COUNT), size=5, term=30) for _ in range(2))
        assert await others.take(ahead=False) == range(5)
        assert await mine.take(ahead=True) == range(5, 10)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "write", None)
            assert await mine.take(ahead=False) is None
        await others.leave()
        assert await mine.take(ahead=False) == range(5)


async def test_a_part_that_is_taken_while_its_project_goes_is_forgotten_too(replicated: AnnotationSettings) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        started = await begin(server)
        claim, db = await claimed(server, started, "leader"), server.app._db

        async def forget() -> None:
            async with db.write() as tx:
                project = await projects.lock(tx, "p")
                await imports.forget_leases(tx, project.uid)

        async with db.write() as tx:
            assert await import_parts.take(tx, claim, 0, "mine", 30)
            forgetting = asyncio.create_task(forget())
            await asyncio.sleep(0.3)
            assert not forgetting.done()
        await forgetting
        assert await leases_of(server, started) == []


async def test_heavy_parts_are_saved_in_several_batches(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "_MOST_AT_ONCE", 40)
    async with serving(replicated) as first, serving(replicated) as second:
        done = await finish(second, await begin(first))
        found = _renamed(await contents(first, done), done.name)
    # Sequences tell how much was saved at once.
    assert _without(found, {"sequence"}) == _without(wanted, {"sequence"})
    assert len(readers.parts) == 2


@pytest.mark.parametrize("place", ["{0}.png", "train/kind {1}/{0}.png"])
async def test_folders_without_label_files_are_shared_where_no_format_is_named(
    replicated: AnnotationSettings, readers: Readers, place: str
) -> None:
    files = {place.format(number, number % 3): png(number) for number in range(COUNT)}
    async with asyncio.timeout(30), serving(replicated) as first, serving(replicated):
        done = await first.run_import(await first.project(), files)
    assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, COUNT)
    assert len(readers.parts) == 2


async def test_whoever_saves_a_part_tells_which_shapes_no_label_file_names_any_more(
    replicated: AnnotationSettings, readers: Readers
) -> None:
    images = {name: content for name, content in folder().items() if name.endswith(".png")}
    async with asyncio.timeout(30), serving(replicated) as first:
        readers.are_several.set()
        await finish(first, await begin(first))
        readers.are_several.clear()
        readers.parts.clear()
        async with serving(replicated):
            again = await first.run_import(Project(name="projects/p"), images, format=FORMAT_YOLO)
    assert len(readers.parts) == 2
    # Of 37 images one has no label file, and one a broken file.
    assert dict(again.problem_counts) == {"STALE_SHAPES": 35}


@pytest.mark.real_server("minio")
async def test_three_replicas_share_an_import_over_an_object_store(
    replicated: AnnotationSettings, minio: MinioServer, bucket: str, readers: Readers, wanted: dict[str, Any]
) -> None:
    settings = replicated.model_copy(update={"object_store": bucket_store(minio, bucket)})
    async with serving(settings) as first, serving(settings) as second, serving(settings):
        await check(second, await finish(second, await begin(first)), wanted)
    assert len(readers.parts) >= 2


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


async def test_a_replica_that_understands_a_folder_otherwise_does_not_help(
    replicated: AnnotationSettings, readers: Readers, wanted: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    told = "the replica that runs an import reads it otherwise"
    caplog.set_level("INFO")
    async with asyncio.timeout(30), serving(replicated) as first:
        started = await begin(first)
        await readers.is_led.wait()
        async with first.app._db.write() as tx:
            await tx.execute(sa.update(IMPORTS).values(fingerprint="another"))
        async with serving(replicated):
            while told not in caplog.messages:  # noqa: ASYNC110 - logging tells nobody
                await asyncio.sleep(0.02)
            readers.are_several.set()
            await check(first, await finish(first, started), wanted)
    assert len(readers.parts) == 1


async def test_a_small_import_is_not_shared(replicated: AnnotationSettings, readers: Readers) -> None:
    async with serving(replicated) as server:
        files = {f"{number}.png": png(number) for number in range(19)}
        done = await server.run_import(await server.project(), files, format=FORMAT_IMAGES)
    assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, 19)
    assert not readers.parts


async def test_trouble_with_one_import_keeps_no_other_from_being_helped(
    replicated: AnnotationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        for name in ("p", "q"):
            await claimed(server, await server.start_import(await server.project(name), folder()), "other", name)
        work = Work(runner, "help_import", lambda _tools, claim, _term: claim.project_id)
        done = fail_first(monkeypatch, work)
        await turns(server.app.loops, runner.HELP)
    assert done == {"q"}


async def test_an_import_that_an_older_replica_took_over_is_not_shared(replicated: AnnotationSettings) -> None:
    async with serving(replicated) as server:
        await server.app.loops.close()
        started = await begin(server)
        db = server.app._db
        waiting = Waiting("p", started.uid)
        claim = await claimed(server, started, "new")
        async with db.write() as tx:
            assert await import_parts.shared(tx, without="mine", least=COUNT) == [claim]
            assert await import_parts.shared(tx, without="new", least=1) == []
            assert await import_parts.shared(tx, without="mine", least=COUNT + 1) == []
            assert await import_parts.take(tx, claim, 3, "mine", 30)
        await let_run_out(server, "imports/%")
        async with db.write() as tx:
            successor = await imports.claim(tx, waiting, utc_now(), holder="old", term=30)
            assert successor
            assert await import_parts.shared(tx, without="mine", least=1) == []
        async with db.write() as tx:
            with pytest.raises(LeaseLost):
                await import_parts.progress(tx, claim)
            with pytest.raises(LeaseLost):
                await import_parts.take(tx, claim, 0, "mine", 30)
        async with db.write() as tx:
            await import_parts.share(tx, successor)
        assert await leases_of(server, started) == [successor.lease.name]
