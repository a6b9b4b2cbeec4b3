"""A label may be on its way out, by whom is noted."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("labels", sa.Column("deleted_by", sa.String(), nullable=False, server_default=""))
