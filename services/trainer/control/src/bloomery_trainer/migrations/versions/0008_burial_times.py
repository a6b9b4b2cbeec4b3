"""What a deleted job left is given back a second time after a while."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Note of no job that it was begun with."""
    op.add_column("jobs", sa.Column("bury_time", UtcDateTime))
