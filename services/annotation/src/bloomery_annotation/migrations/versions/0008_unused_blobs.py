"""Blobs that nothing needs any more are collected: each says when it was last asked for, and whether it goes."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("projects", sa.Column("sweeps", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("blobs", sa.Column("going", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("blobs", sa.Column("use_time", UtcDateTime(), nullable=True))
    op.execute("UPDATE blobs SET use_time = create_time")
    with op.batch_alter_table("blobs") as blobs:
        blobs.alter_column("use_time", existing_type=UtcDateTime(), nullable=False)
