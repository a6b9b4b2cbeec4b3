"""Holders that are unique for ever, deleted jobs that go, and indexes of the jobs that still matter."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# Jobs that are held go on under their old holder. One that was deleted may have had its name used again: what is held
# under it by then is not its own.
_HOLDERS = """
UPDATE jobs SET holder = project || '/jobs/' || CASE
    WHEN held AND NOT (deleted AND EXISTS (
        SELECT 1 FROM jobs AS later
        WHERE later.project = jobs.project AND later.job_id = jobs.job_id AND later.number > jobs.number
    )) THEN job_id
    ELSE uid END
"""


def upgrade() -> None:
    """Give every job its holder; those that are not terminal claim their inputs once more at their next start."""
    op.add_column("jobs", sa.Column("holder", sa.String(), nullable=False, server_default=""))
    op.execute(_HOLDERS)
    op.execute(sa.text("UPDATE jobs SET held = :no WHERE state < 8").bindparams(no=False))
    op.add_column("results", sa.Column("job", sa.Text()))
    op.drop_index("jobs_state", "jobs")
    _index("jobs_open", ["project", "state"], "state < 8", "state < 8")
    _index("jobs_unshortened", ["end_time"], *["state >= 8 AND oldest_sequence < last_sequence"] * 2)
    _index("jobs_deleted", ["number"], "deleted", "deleted")


def _index(name: str, columns: list[str], sqlite: str, postgresql: str) -> None:
    op.create_index(name, "jobs", columns, sqlite_where=sa.text(sqlite), postgresql_where=sa.text(postgresql))
