"""Cleanups are done a last time after a while."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("cleanups", sa.Column("last_time", UtcDateTime))
