"""An archive that a replica of before 0006 adds says nothing of its losses, which is not the same as none."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make those anew, too, that such a replica may have added since 0006."""
    with op.batch_alter_table("exports") as exports:
        exports.alter_column("losses", existing_type=sa.JSON(), nullable=True, server_default=None)
    op.execute("DELETE FROM exports")
