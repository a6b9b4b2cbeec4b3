"""Blobs that are being collected are found among very many."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    going = sa.text("going IS true")
    op.create_index(
        "blobs_going", "blobs", ["project_uid", "digest"], sqlite_where=sa.text("going IS 1"), postgresql_where=going
    )
