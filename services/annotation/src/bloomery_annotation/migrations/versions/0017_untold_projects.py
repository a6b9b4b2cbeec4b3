"""What the access service has not been told of projects yet: at first, that those of today are there."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "untold_projects",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False, index=True),
        sa.Column("creator", sa.String, nullable=False),
        sa.Column("gone", sa.Boolean, nullable=False),
    )
    op.execute("INSERT INTO untold_projects (uid, project, creator, gone) SELECT uid, id, '', false FROM projects")
