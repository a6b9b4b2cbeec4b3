"""Whoever runs an import says how it reads the folder and that others may read parts, and goes by the format asked for.

Where a format is not stored, as an older replica made or began the import, its `format` is taken.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("imports", sa.Column("shared_epoch", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("imports", sa.Column("asked_format", sa.String(), nullable=True))
    op.add_column("imports", sa.Column("fingerprint", sa.String(), nullable=False, server_default=""))
