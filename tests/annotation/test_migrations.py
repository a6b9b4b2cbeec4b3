"""What an installation of the first version holds is there after an upgrade, and goes on."""

from datetime import UTC, datetime

import sqlalchemy as sa

from bloomery.annotation.v1 import GetAssetRequest, Import, ListReferencesRequest, StreamAnnotationSetsRequest
from bloomery_annotation.app import MIGRATIONS, SCHEMA
from bloomery_annotation.names import asset_id
from bloomery_annotation.settings import AnnotationSettings
from bloomery_kit.database import Database
from tests.annotation.helpers import digest_of, png, serving
from tests.databases import migrate_to

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DIGESTS = [digest_of(png(seed)) for seed in range(3)]

Row = dict[str, object]
ROWS: dict[str, list[Row]] = {
    "projects": [
        {"id": "p", "uid": "u", "display_name": "p", "labels": {}, "create_time": NOW, "update_time": NOW}
        | {"revision": 1, "asset_count": 1}
    ],
    "sequences": [{"key": "u", "value": 3}],
    "project_references": [{"project_uid": "u", "holder": "projects/p/datasets/d", "create_time": NOW}],
    "assets": [
        {"uid": f"asset{number}", "project_uid": "u", "id": asset_id(DIGESTS[number]), "digest": DIGESTS[number]}
        | {"display_name": f"{number}.png", "size_bytes": 9, "media_type": "image/png", "width": 64, "height": 48}
        | {"split": "train", "labels": {"k": "v"}, "create_time": NOW, "created_sequence": number + 1}
        | {"deleted_sequence": None if number else 3}
        for number in range(2)
    ],
    "blobs": [
        {"project_uid": "u", "digest": digest, "size_bytes": 9, "media_type": "image/png", "width": 64, "height": 48}
        | {"problem_code": "", "problem_message": "", "problem_hint": "", "create_time": NOW}
        for digest in DIGESTS
    ],
    "imports": [
        {"uid": "i", "project_uid": "u", "id": "i", "display_name": "i", "format": "", "state": "running"}
        | {"cancel_requested": False, "failure_reason": "", "failure_message": "", "position": 1, "sequence": 1}
        | dict.fromkeys(("item_count", "done_count", "asset_count", "annotated_count", "unchanged_count"), 0)
        | dict.fromkeys(("failed_count", "shape_count", "problem_count"), 0)
        | {"epoch": 1, "beat": 1, "held": True, "create_time": NOW, "update_time": NOW}
    ],
    "import_files": [{"import_uid": "i", "path": "2.png", "project_uid": "u", "digest": DIGESTS[2]}],
}


async def first_version(settings: AnnotationSettings) -> None:
    """Make the database as the first version left it."""
    db = Database.connect(settings.database_url, SCHEMA)

    def fill(connection: sa.Connection) -> None:
        metadata = sa.MetaData()
        metadata.reflect(connection)
        for name, rows in ROWS.items():
            connection.execute(metadata.tables[name].insert(), rows)

    await migrate_to(db, MIGRATIONS, "0001")
    async with db.write() as tx:
        await tx.run_sync(fill)
    await db.close()


async def test_an_upgrade_keeps_what_was_there(empty_settings: AnnotationSettings) -> None:
    await first_version(empty_settings)
    async with serving(empty_settings) as server:
        done = await server.finish("projects/p/imports/i")
        assert (done.state, done.asset_count) == (Import.STATE_SUCCEEDED, 1)
        asset = await server.stub.GetAsset(GetAssetRequest(name=f"projects/p/assets/{asset_id(DIGESTS[1])}"))
        assert (asset.uid, asset.split, dict(asset.labels), asset.sequence) == ("asset1", "train", {"k": "v"}, 2)
        found = {}
        for sequence in (1, 2, 3, 4):
            request = StreamAnnotationSetsRequest(parent="projects/p", read_sequence=sequence)
            messages = [message async for message in server.stub.StreamAnnotationSets(request)]
            found[sequence] = sorted(item.asset.display_name for message in messages for item in message.items)
        assert found == {1: ["0.png"], 2: ["0.png", "1.png"], 3: ["1.png"], 4: ["1.png", "2.png"]}
        held = await server.stub.ListReferences(ListReferencesRequest(parent="projects/p"))
        assert [one.title for one in held.references] == ["datasets/d"]
