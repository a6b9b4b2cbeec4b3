"""Each project knows how many bytes it has, as there may be a limit to them."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("projects", sa.Column("size_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        sa.text(
            "UPDATE projects SET size_bytes = "
            "coalesce((SELECT sum(blobs.size_bytes) FROM blobs WHERE blobs.project_uid = projects.uid), 0)"
        )
    )
