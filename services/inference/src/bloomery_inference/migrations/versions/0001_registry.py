"""Models, versions, variants and the place in the feed of results."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "sequences",
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("create_time", UtcDateTime, nullable=False, index=True),
    )
    op.create_table(
        "models",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("project", sa.String, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("latest_version", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("project", "id"),
    )
    op.create_table(
        "versions",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("job_uid", sa.String, nullable=False, unique=True),
        sa.Column("job", sa.String, nullable=False, index=True),
        sa.Column("content", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.UniqueConstraint("model_uid", "number"),
    )
    op.create_table(
        "variants",
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("format", sa.String, nullable=False),
        sa.Column("precision", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("job", sa.String, nullable=False, unique=True),
        sa.Column("result", sa.JSON, nullable=False),
        sa.Column("create_time", UtcDateTime, nullable=False),
        sa.Column("update_time", UtcDateTime, nullable=False),
        sa.UniqueConstraint("version_uid", "id"),
    )
    op.create_table(
        "feeds",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
