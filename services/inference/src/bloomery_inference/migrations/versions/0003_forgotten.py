"""Deleted versions leave only the uid of their job, so that their model can be deleted too."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table("forgotten_results", sa.Column("job_uid", sa.String, primary_key=True))
    op.execute("INSERT INTO forgotten_results SELECT job_uid FROM versions WHERE deleted")
    op.execute("DELETE FROM variants WHERE version_uid IN (SELECT uid FROM versions WHERE deleted)")
    op.execute("DELETE FROM versions WHERE deleted")
    op.drop_column("versions", "deleted")
    op.execute(
        "UPDATE models SET latest_version ="
        " (SELECT coalesce(max(number), 0) FROM versions WHERE model_uid = models.uid)"
    )
