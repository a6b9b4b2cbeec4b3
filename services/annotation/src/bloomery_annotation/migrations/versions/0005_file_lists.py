"""The files of an import may be an uploaded list."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("imports", sa.Column("file_list", sa.String(), nullable=False, server_default=""))
