"""An attempt knows which of the workers that follow each other is its own."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Nobody told of those that are at work."""
    op.add_column("attempts", sa.Column("incarnation", sa.String, nullable=False, server_default=""))
