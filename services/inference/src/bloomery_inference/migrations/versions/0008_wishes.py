"""What the job of a variant is asked for beside its form."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("variants", sa.Column("parameters", sa.JSON, nullable=False, server_default="{}"))
    op.add_column("variants", sa.Column("dataset_version", sa.String, nullable=False, server_default=""))
