"""The tables, and how older ones are brought up to date."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from bloomery_inference.app import MIGRATIONS
from bloomery_inference.model import VariantResult
from bloomery_inference.results import version_content
from bloomery_inference.store import models
from bloomery_inference.store.rows import content_json, result_json
from bloomery_inference.store.tables import METADATA, MODELS, VARIANTS
from bloomery_kit.database import Database, UtcDateTime
from bloomery_kit.migrations import migrate
from bloomery_kit.sequences import next_sequence
from tests.databases import migrate_to
from tests.inference.samples import trained

Row = dict[str, object]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def test_the_migrations_make_the_tables_that_the_code_uses(database_url: str) -> None:
    db = Database.connect(database_url)
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        differences = await tx.run_sync(
            lambda connection: compare_metadata(MigrationContext.configure(connection), METADATA)
        )
    await db.close()
    assert [one for one in differences if "alembic_version" not in str(one)] == []


async def test_an_older_registry_is_brought_up_to_date(empty_database_url: str) -> None:
    db = Database.connect(empty_database_url)
    await migrate_to(db, MIGRATIONS, "0001")
    async with db.write() as tx:
        await tx.execute(sa.insert(MODELS).values(old_model()))
        content = content_json(version_content(trained(1)))
        for number in range(4):
            # The later in the order of numbers, the earlier by the clock.
            time = datetime(2026, 1, 4 - number, tzinfo=UTC)
            row: dict[str, object] = {
                "uid": f"v{number}",
                "model_uid": "m",
                "number": number + 1,
                "job_uid": f"j{number}",
                "job": "j",
            }
            row |= {"content": content, "create_time": time, "deleted": number == 3}
            await tx.execute(sa.insert(OLD_VERSIONS).values(row))
        await tx.execute(sa.insert(VARIANTS).values(old_variant()))
    await migrate(db, MIGRATIONS)
    async with db.read() as tx:
        versions = await models.list_versions(tx, project=None, model_id=None, before=None, limit=10)
        assert await models.is_forgotten(tx, "j3")
        assert await tx.scalar(sa.select(MODELS.c.latest_version)) == 3
        assert [model.project_uid for model in await models.unheld(tx, after="", limit=2)] == ["p"]
    assert [(version.uid, version.ordinal) for version in versions] == [("v0", 4), ("v1", 3), ("v2", 2)]
    assert [variant.id for variant in versions[0].variants] == ["onnx-fp32"]
    async with db.write() as tx:
        assert await next_sequence(tx, "versions") == 5
    await db.close()


OLD_VERSIONS = sa.table(
    "versions",
    *(sa.column(name, sa.String) for name in ("uid", "model_uid", "job_uid", "job")),
    sa.column("number", sa.BigInteger),
    sa.column("content", sa.JSON),
    sa.column("create_time", UtcDateTime),
    sa.column("deleted", sa.Boolean),
)


def old_model() -> dict[str, object]:
    texts = {"uid": "m", "project": "pets", "id": "pets", "display_name": "Pets"}
    return texts | {"labels": {}, "create_time": NOW, "update_time": NOW, "revision": 1, "latest_version": 4}


def old_variant() -> dict[str, object]:
    texts = {"uid": "o", "version_uid": "v0", "id": "onnx-fp32", "format": "onnx", "precision": "fp32", "job": "j"}
    result = result_json(VariantResult())
    return texts | {"state": "READY", "reason": "", "result": result, "create_time": NOW, "update_time": NOW}
