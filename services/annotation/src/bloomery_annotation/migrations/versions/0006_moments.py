"""A set as it was at a sequence is found by an index, however many revisions it has."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("revisions_by_moment", "revisions", ["asset_uid", "set_id", "sequence"])
