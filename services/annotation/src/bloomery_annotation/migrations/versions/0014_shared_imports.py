"""Whoever runs an import says that others may read parts of it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("imports", sa.Column("shared_epoch", sa.BigInteger(), nullable=False, server_default="0"))
