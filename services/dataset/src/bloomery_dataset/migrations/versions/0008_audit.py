"""What people did, until the access service has taken it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    texts = (
        *("subject", "authentication", "method", "resource", "project", "project_uid"),
        *("request_id", "trace_id", "address", "forwarded_for", "summary"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("uid", sa.String(), primary_key=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in texts),
        sa.Column("time", sa.Float(), nullable=False, index=True),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
    )
