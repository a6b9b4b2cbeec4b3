"""Imports keep their plan and count images by outcome; images know the split that the files gave them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_COUNTS = (
    "read_count",
    "labelled_count",
    "empty_count",
    "unlabelled_count",
    "broken_count",
    "repeated_count",
    "edited_count",
    "split_count",
)


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column("imports", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    for name in ("plan_only", "strict"):
        op.add_column("imports", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    # Until now items were counted that are no images, and those are what an import goes on behind.
    op.execute("UPDATE imports SET read_count = done_count")
    op.create_table(
        "import_plans",
        sa.Column("import_uid", sa.String(), primary_key=True),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
    )
    op.create_index("ix_import_plans_project_uid", "import_plans", ["project_uid"])
    op.add_column("assets", sa.Column("imported_split", sa.String(), nullable=False, server_default=""))
    # Who changed one before is not known, so that it counts as what the files said.
    op.execute("UPDATE assets SET imported_split = split")
