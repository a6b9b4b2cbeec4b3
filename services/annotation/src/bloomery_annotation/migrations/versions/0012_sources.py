"""Images and labels keep what label files call them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for table, column in (
        ("assets", "source_name"),
        ("assets", "source_id"),
        ("labels", "supercategory"),
        ("labels", "source_id"),
    ):
        op.add_column(table, sa.Column(column, sa.String(), nullable=False, server_default=""))
