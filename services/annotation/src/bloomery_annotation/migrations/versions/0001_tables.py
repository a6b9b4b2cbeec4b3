"""Create the tables."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ORDERED = sa.String().with_variant(sa.VARCHAR(collation="C"), "postgresql")
_TABLES = (
    "annotation_sets",
    "assets",
    "blobs",
    "deleted_projects",
    "idempotency",
    "import_files",
    "import_problems",
    "imports",
    "labels",
    "project_references",
    "projects",
    "revisions",
    "sequences",
    "set_labels",
)


def upgrade() -> None:
    op.create_table(
        "annotation_sets",
        sa.Column("asset_uid", sa.String(), nullable=False),
        sa.Column("id", _ORDERED, nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("asset_id", _ORDERED, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("shapes_digest", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("update_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("asset_uid", "id"),
    )
    op.create_index("annotation_sets_by_asset", "annotation_sets", ["project_uid", "asset_id", "id"], unique=False)
    op.create_table(
        "assets",
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("id", _ORDERED, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("created_sequence", sa.BigInteger(), nullable=False),
        sa.Column("deleted_sequence", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("uid"),
    )
    op.create_index(
        "assets_alive",
        "assets",
        ["project_uid", "id"],
        unique=True,
        sqlite_where=sa.text("deleted_sequence IS NULL"),
        postgresql_where=sa.text("deleted_sequence IS NULL"),
    )
    op.create_index("assets_by_creation", "assets", ["project_uid", "created_sequence"], unique=False)
    op.create_index("assets_by_id", "assets", ["project_uid", "id", "created_sequence"], unique=False)
    op.create_table(
        "blobs",
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("problem_code", sa.String(), nullable=False),
        sa.Column("problem_message", sa.String(), nullable=False),
        sa.Column("problem_hint", sa.String(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project_uid", "digest"),
    )
    op.create_table(
        "deleted_projects",
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("delete_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uid"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "request_id"),
    )
    op.create_index(op.f("ix_idempotency_create_time"), "idempotency", ["create_time"], unique=False)
    op.create_table(
        "import_files",
        sa.Column("import_uid", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("import_uid", "path"),
    )
    op.create_index(op.f("ix_import_files_project_uid"), "import_files", ["project_uid"], unique=False)
    op.create_table(
        "import_problems",
        sa.Column("import_uid", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("item", sa.String(), nullable=False),
        sa.Column("severity", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("hint", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("import_uid", "number"),
    )
    op.create_index(op.f("ix_import_problems_project_uid"), "import_problems", ["project_uid"], unique=False)
    op.create_table(
        "imports",
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("format", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("failure_reason", sa.String(), nullable=False),
        sa.Column("failure_message", sa.String(), nullable=False),
        sa.Column("item_count", sa.BigInteger(), nullable=False),
        sa.Column("done_count", sa.BigInteger(), nullable=False),
        sa.Column("asset_count", sa.BigInteger(), nullable=False),
        sa.Column("annotated_count", sa.BigInteger(), nullable=False),
        sa.Column("unchanged_count", sa.BigInteger(), nullable=False),
        sa.Column("failed_count", sa.BigInteger(), nullable=False),
        sa.Column("shape_count", sa.BigInteger(), nullable=False),
        sa.Column("problem_count", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("beat", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("update_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("uid"),
        sa.UniqueConstraint("project_uid", "id", name="imports_id"),
    )
    op.create_index("imports_by_position", "imports", ["project_uid", "position"], unique=False)
    op.create_index(op.f("ix_imports_state"), "imports", ["state"], unique=False)
    op.create_table(
        "labels",
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("color", sa.String(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("update_time", UtcDateTime(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("shape_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_uid", "id"),
        sa.UniqueConstraint("project_uid", "display_name", name="labels_display_name"),
    )
    op.create_table(
        "project_references",
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("project_uid", "holder"),
    )
    op.create_table(
        "projects",
        sa.Column("id", _ORDERED, nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("update_time", UtcDateTime(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("asset_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uid"),
    )
    op.create_table(
        "revisions",
        sa.Column("asset_uid", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("asset_id", sa.String(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("shapes", sa.LargeBinary(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("update_time", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("asset_uid", "set_id", "revision"),
    )
    op.create_index("revisions_by_sequence", "revisions", ["project_uid", "sequence"], unique=True)
    op.create_table(
        "sequences",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "set_labels",
        sa.Column("asset_uid", sa.String(), nullable=False),
        sa.Column("set_id", sa.String(), nullable=False),
        sa.Column("label_id", sa.String(), nullable=False),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("shape_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset_uid", "set_id", "label_id"),
    )
    op.create_index("set_labels_by_label", "set_labels", ["project_uid", "label_id"], unique=False)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)
