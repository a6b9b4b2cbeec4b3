"""Tokens, members, and which projects there are."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from bloomery_kit.database import UtcDateTime

revision = "0001"
down_revision = None

_ORDERED = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "sequences",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("id", _ORDERED, unique=True),
    )
    op.create_table(
        "members",
        sa.Column("project_uid", sa.String, primary_key=True),
        sa.Column("subject", _ORDERED, primary_key=True),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("creator", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
    op.create_index("members_by_subject", "members", ["subject"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("ordinal", sa.BigInteger, nullable=False, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False, index=True),
        sa.Column("group_names", sa.JSON, nullable=False),
        sa.Column("role", sa.Integer, nullable=False),
        sa.Column("projects", sa.JSON),
        sa.Column("creator", sa.String, nullable=False, index=True),
        sa.Column("lineage", sa.String, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("expire_time", UtcDateTime, nullable=False, index=True),
        sa.Column("last_use_time", UtcDateTime),
        sa.Column("revoke_time", UtcDateTime),
    )
