"""Aliases with their history, what was measured of versions, what people say of them, and origins that can be found."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("versions", sa.Column("note", sa.String, nullable=False, server_default=""))
    op.add_column("versions", sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()))
    find_origins()
    op.add_column("versions", sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    op.create_table(
        "aliases",
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), primary_key=True),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("updater", sa.String, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
    )
    op.create_index("ix_aliases_version_uid", "aliases", ["version_uid"])
    op.create_table(
        "alias_changes",
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("from_version", sa.BigInteger, nullable=False),
        sa.Column("to_version", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("changer", sa.String, nullable=False),
        sa.Column("figures", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_table(
        "evaluations",
        sa.Column("job_uid", sa.String, primary_key=True),
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("dataset_version", sa.String, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("evaluations_by_version", "evaluations", ["version_uid", "sequence"])


def find_origins() -> None:
    """Columns of what is in the JSON as well, to look for it."""
    versions = sa.table("versions", sa.column("content", sa.JSON), *map(sa.column, ("dataset_version", "base")))
    for name in ("dataset_version", "base"):
        op.add_column("versions", sa.Column(name, sa.String, nullable=False, server_default=""))
        found = versions.c.content["lineage"][name].as_string()
        op.execute(sa.update(versions).values({name: sa.func.coalesce(found, "")}))
        op.create_index(f"ix_versions_{name}", "versions", [name])
