"""Versions by number, several variants of one job, refused results, and what is to be cleaned up."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    order_versions()
    free_job_of_variants()
    op.create_table(
        "refused_results",
        sa.Column("job_uid", sa.String, primary_key=True),
        sa.Column("job", sa.String, nullable=False, index=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "cleanups",
        sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("keys", sa.JSON, nullable=False),
        sa.Column("dataset_version", sa.String, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("job_uid", sa.String, nullable=False),
    )


def order_versions() -> None:
    op.add_column("versions", sa.Column("ordinal", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE versions SET ordinal = (SELECT count(*) FROM versions AS earlier"
        " WHERE earlier.create_time < versions.create_time"
        " OR (earlier.create_time = versions.create_time AND earlier.uid <= versions.uid))"
    )
    op.execute("INSERT INTO sequences (key, value) SELECT 'versions', count(*) FROM versions")
    op.create_index("versions_by_ordinal", "versions", ["ordinal"], unique=True)


def free_job_of_variants() -> None:
    """Make the table anew: a constraint without a name cannot be dropped on every database."""
    op.rename_table("variants", "variants_before")
    op.drop_index("ix_variants_state", "variants_before")
    op.create_table(
        "variants",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("precision", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False, index=True),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("version_uid", "id"),
    )
    op.execute("INSERT INTO variants SELECT * FROM variants_before")
    op.drop_table("variants_before")
