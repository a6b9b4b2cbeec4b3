"""Which variant was measured, and how a version was found better than the one that an alias named."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("evaluations", sa.Column("variant", sa.String, nullable=False, server_default=""))
    op.add_column("alias_changes", sa.Column("comparison", sa.JSON))
