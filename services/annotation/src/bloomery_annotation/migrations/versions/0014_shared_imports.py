"""Whoever runs an import says that others may read parts of it, and goes by the format that was asked for.

Where that is not stored, as an older replica made or began the import, its `format` is taken.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("imports", sa.Column("shared_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("imports", sa.Column("asked_format", sa.String(), nullable=True))
