"""Deployments, the replicas that load their models, and what two versions of one disagree about."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "deployments",
        *(sa.Column(name, sa.String, nullable=False) for name in ("project", "id")),
        sa.Column("uid", sa.String, primary_key=True),
        sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("runtime", "alias", "target", "variant")),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("traffic", sa.Integer, nullable=False),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("serving", "candidate", "previous")),
        sa.Column("drained", sa.Float, nullable=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("generation", "observed", "sequence")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("failure", "updater")),
        *(sa.Column(name, UtcDateTime, nullable=False) for name in ("create_time", "update_time")),
        sa.Column("revision", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("compared_serving", "compared_candidate")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("compared", "disagreed", "skipped")),
        sa.UniqueConstraint("project", "id"),
    )
    op.create_index("ix_deployments_model_uid", "deployments", ["model_uid"])
    op.create_table(
        "serving_replicas",
        *(sa.Column(name, sa.String, primary_key=True) for name in ("runtime", "id")),
        *(sa.Column(name, sa.String, nullable=False) for name in ("incarnation", "endpoint")),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("former", "models")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("observed", "sequence")),
        sa.Column("reported", sa.Float, nullable=False),
    )
    op.create_table(
        "disagreements",
        sa.Column("deployment_uid", sa.String, sa.ForeignKey("deployments.uid"), primary_key=True),
        sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("asset", "digest", "difference")),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("answered", "other")),
        sa.Column("create_time", UtcDateTime, nullable=False),
    )
