"""Imports count their findings by code."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("imports", sa.Column("problem_codes", sa.JSON(), nullable=False, server_default="{}"))
