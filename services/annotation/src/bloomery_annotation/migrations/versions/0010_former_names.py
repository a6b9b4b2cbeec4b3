"""Labels keep the names that they had: label files still call them by these."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("labels", sa.Column("former_names", sa.JSON(), nullable=False, server_default="[]"))
