"""What must not grow with what is there: work counted in steps of SQLite's machine, which no load disturbs."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bloomery_annotation.app import MIGRATIONS
from bloomery_annotation.model import Asset, Blob, Project, Provenance, Shapes, Source
from bloomery_annotation.names import asset_id
from bloomery_annotation.saving import Overwrite, SetDraft
from bloomery_annotation.store import annotation_sets, assets, blobs, graves, revisions
from bloomery_annotation.store.tables import ASSETS, IMPORT_FILES, LABELS, REVISIONS
from bloomery_kit.database import Database, Transaction
from bloomery_kit.migrations import migrate
from bloomery_kit.times import utc_now
from tests.annotation.helpers import digest_of
from tests.databases import steps

NOW = utc_now()
PROJECT = Project("p", "u", "p", {}, NOW, NOW, sequence=1_000_000)
LABEL: dict[str, object] = {"project_uid": "u", "uid": "", "color": "", "create_time": NOW, "update_time": NOW}
LABEL |= {"position": 1, "revision": 1, "shape_count": 0}


@pytest.fixture
async def db(tmp_path: Path) -> Any:
    database = Database.connect(f"sqlite+aiosqlite:///{tmp_path}/annotation.db")
    await migrate(database, MIGRATIONS)
    yield database
    await database.close()


def asset(number: int, **fields: Any) -> Asset:
    digest = digest_of(str(number).encode())
    place = {"create_time": NOW, "sequence": number, "since": number, **fields}
    return Asset("p", f"a{number}", asset_id(digest), digest, f"{number}.png", 1, "image/png", 9, 9, "", {}, **place)


async def add_assets(tx: Transaction, numbers: range, **fields: Any) -> list[Asset]:
    made = [asset(number, **fields) for number in numbers]
    await tx.execute(sa.insert(ASSETS), [assets._row(PROJECT, one) for one in made])
    return made


async def add_revisions(tx: Transaction, of: Asset, count: int, first: int) -> None:
    common = {"asset_uid": of.uid, "set_id": "main", "project_uid": "u", "asset_id": of.id, "shapes": b"", "agent": ""}
    times = {"size_bytes": 0, "source": "human", "author": "", "create_time": NOW, "update_time": NOW}
    rows = [common | times | {"revision": number + 1, "sequence": first + number} for number in range(count)]
    await tx.execute(sa.insert(REVISIONS), rows)


@pytest.mark.parametrize("moment", [0.01, 0.5, 1.0])
async def test_a_moment_is_read_as_quickly_with_many_revisions_as_with_few(db: Database, moment: float) -> None:
    async with db.write() as tx:
        few, many = await add_assets(tx, range(1, 3))
        await add_revisions(tx, few, 10, 100)
        await add_revisions(tx, many, 5000, 1000)
    async with db.read() as tx:
        of_few = await steps(tx, annotation_sets.at(tx, PROJECT, [few], "main", 100 + int(9 * moment)))
        of_many = await steps(tx, annotation_sets.at(tx, PROJECT, [many], "main", 1000 + int(4999 * moment)))
    assert of_many <= of_few + 2


async def test_a_page_of_assets_costs_the_same_wherever_it_is(db: Database) -> None:
    size, count = 50, 20_000
    async with db.write() as tx:
        made = await add_assets(tx, range(1, count + 1))
    places = [0, made[count // 2].sequence, made[-size - 1].sequence]
    async with db.read() as tx:
        costs = [
            await steps(tx, assets.page(tx, PROJECT, sa.true(), assets.BY_CREATION, (place,), size)) for place in places
        ]
        history = await steps(tx, assets.at(tx, PROJECT, count, sorted(one.id for one in made)[count // 2], size))
    assert max(costs) <= min(costs) + 2
    assert history <= 2 * max(costs)


async def test_a_page_of_frames_costs_the_same_among_many_assets(db: Database) -> None:
    async with db.write() as tx:
        await add_assets(tx, range(1, 20_000))
        frames = await add_assets(tx, range(20_000, 20_100), parent="video")
    async with db.read() as tx:
        cost = await steps(tx, assets.page(tx, PROJECT, assets.frames_of("video"), assets.BY_TIME, (), 50))
    assert len(frames) == 100
    assert cost <= 60


def draft(of: Asset, label: str) -> SetDraft:
    return SetDraft(of, "main", Shapes(label.encode(), {label: 1}), Provenance(Source.HUMAN, ""), "", Overwrite())


async def test_a_save_costs_the_same_among_many_sets(db: Database) -> None:
    async def save(tx: Transaction, of: list[Asset], label: str) -> int:
        return await steps(tx, revisions.save(tx, PROJECT, [draft(one, label) for one in of], NOW))

    async with db.write() as tx:
        await tx.execute(sa.insert(LABELS), [LABEL | {"id": label, "display_name": label} for label in "ab"])
        made = await add_assets(tx, range(1, 3001))
        first = await save(tx, made[:50], "a") + await save(tx, made[:50], "b")
        await save(tx, made[50:], "a")
        last = await save(tx, made[-50:], "b")
    assert last <= 1.5 * first


async def test_the_rows_of_a_deleted_project_go_in_batches_that_cost_the_same(db: Database) -> None:
    async with db.write() as tx:
        await add_assets(tx, range(1, 301))
        small = await steps(tx, graves.remove_rows(tx, "u", 100))
        await add_assets(tx, range(1000, 6000))
        large = await steps(tx, graves.remove_rows(tx, "u", 100))
    assert large <= 1.5 * small


async def test_a_page_of_sets_and_of_an_imports_files_costs_the_same_wherever_it_is(db: Database) -> None:
    async with db.write() as tx:
        await tx.execute(sa.insert(LABELS), [LABEL | {"id": "a", "display_name": "a"}])
        made = await add_assets(tx, range(1, 5001))
        for start in range(0, 5000, 1000):
            await revisions.save(tx, PROJECT, [draft(one, "a") for one in made[start : start + 1000]], NOW)
        await blobs.keep(tx, "u", [Blob(one.digest, 1) for one in made], NOW, {})
        files = [
            {"import_uid": "i", "project_uid": "u", "path": one.display_name, "digest": one.digest} for one in made
        ]
        await tx.execute(sa.insert(IMPORT_FILES), files)
    ids = sorted(one.id for one in made)
    names = sorted(one.display_name for one in made)
    async with db.read() as tx:
        sets, listed = [], []
        for place in (0, 2500, 4900):
            sets.append(await steps(tx, annotation_sets.page(tx, PROJECT, None, sa.true(), (ids[place], "main"), 50)))
            listed.append(await steps(tx, blobs.of_import(tx, "i", names[place], 50)))
    assert max(sets) <= min(sets) + 2
    assert max(listed) <= min(listed) + 2


async def test_what_is_being_collected_is_found_among_very_many(db: Database) -> None:
    async with db.write() as tx:
        await blobs.keep(tx, "u", [Blob(digest_of(str(number).encode()), 1) for number in range(5000)], NOW, {})
        cost = await steps(tx, blobs.going(tx, "u", "", 20))
    assert cost <= 5
