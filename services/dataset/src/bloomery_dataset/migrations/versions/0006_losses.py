"""Exports know what their format cannot hold; archives of before do not say it, and have no table of images."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    # They are made anew when they are asked for; the old ones go with their version.
    op.execute(sa.text("DELETE FROM exports"))
    op.add_column("exports", sa.Column("losses", sa.JSON(), nullable=False, server_default="{}"))
