"""Datasets, versions, references, exports and what is left to clean up."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "sequences",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("create_time", UtcDateTime, nullable=False, index=True),
    )
    op.create_table(
        "datasets",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("project", "dataset"),
    )
    op.create_table(
        "versions",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("dataset_uid", sa.String, sa.ForeignKey("datasets.uid"), nullable=False),
        sa.Column("project_uid", sa.String, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False, unique=True),
        sa.Column("number", sa.BigInteger),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("done_count", sa.BigInteger, nullable=False),
        sa.Column("item_count", sa.BigInteger, nullable=False),
        sa.Column("plan", sa.JSON),
        sa.Column("product", sa.JSON),
        sa.Column("content_hash", sa.String),
        sa.Column("failure", sa.JSON),
        sa.Column("same_as", sa.String, sa.ForeignKey("versions.uid", ondelete="CASCADE")),
        sa.Column("lease", sa.String),
        sa.Column("lease_until", UtcDateTime),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.UniqueConstraint("dataset_uid", "number"),
    )
    op.create_index("versions_by_content", "versions", ["dataset_uid", "content_hash"])
    op.create_table(
        "version_references",
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("holder", sa.String, primary_key=True),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "exports",
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid", ondelete="CASCADE"), primary_key=True),
        sa.Column("format", sa.String, primary_key=True),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("logical_key", sa.String, nullable=False),
    )
    op.create_table(
        "cleanups",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("ordinal", sa.BigInteger, nullable=False),
    )
