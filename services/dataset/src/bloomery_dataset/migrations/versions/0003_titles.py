"""References say how people call their holder."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("version_references", sa.Column("title", sa.String, nullable=False, server_default=""))
