"""What people did, and what projects may take."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    called = (
        *("subject", "authentication", "method", "resource", "project", "project_uid"),
        *("request_id", "trace_id", "address", "forwarded_for", "summary", "code", "reason"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("uid", sa.String(), primary_key=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in called),
        sa.Column("time", sa.Float(), nullable=False, index=True),
        sa.Column("told", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "audit_log",
        sa.Column("uid", sa.String(), primary_key=True),
        sa.Column("time", UtcDateTime(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in called),
    )
    op.create_index("audit_log_by_time", "audit_log", ["time", "uid"])
    op.create_index("audit_log_by_project", "audit_log", ["project", "time", "uid"])
    op.create_index("audit_log_by_subject", "audit_log", ["subject", "time", "uid"])
    op.create_table(
        "quotas",
        sa.Column("project_uid", sa.String(), primary_key=True),
        *(sa.Column(name, sa.BigInteger()) for name in ("bytes", "images", "running_jobs", "gpus")),
        sa.Column("update_time", UtcDateTime(), nullable=False),
    )
