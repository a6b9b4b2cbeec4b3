"""Sets of suggestions tell the run that saved them, so that its repeat saves nothing twice."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("annotation_sets", sa.Column("run", sa.String(), nullable=False, server_default=""))
