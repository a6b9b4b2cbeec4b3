"""Assets may change: each state is a row that holds from one sequence to the next. Frames name their parent."""

import sqlalchemy as sa
from alembic import op

from bloomery_kit.database import UtcDateTime

revision = "0004"
down_revision = "0003"

_ORDERED = sa.String().with_variant(sa.VARCHAR(collation="C"), "postgresql")
_ALIVE = sa.text("until IS NULL")
_FRAMES = sa.text("until IS NULL AND parent <> ''")
_KEPT = (
    "uid, project_uid, id, digest, display_name, size_bytes, media_type, width, height, split, labels, create_time, "
    "created_sequence"
)


def upgrade() -> None:
    for index in ("assets_alive", "assets_by_creation", "assets_by_id"):
        op.drop_index(index, "assets")
    op.rename_table("assets", "former_assets")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX assets_pkey RENAME TO former_assets_pkey")
    _create()
    op.execute(
        f"INSERT INTO assets ({_KEPT}, parent, timestamp_us, since, until) "  # noqa: S608 - these are our own names
        f"SELECT {_KEPT}, '', 0, created_sequence, deleted_sequence FROM former_assets"
    )
    op.drop_table("former_assets")
    op.create_index("assets_by_id", "assets", ["project_uid", "id", "since"])
    op.create_index("assets_by_digest", "assets", ["project_uid", "digest"])
    _create_partial("assets_alive", ["project_uid", "id"], _ALIVE, unique=True)
    _create_partial("assets_by_creation", ["project_uid", "created_sequence"], _ALIVE)
    _create_partial("assets_by_parent", ["project_uid", "parent", "timestamp_us", "created_sequence"], _FRAMES)


def _create() -> None:
    op.create_table(
        "assets",
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("project_uid", sa.String(), nullable=False),
        sa.Column("id", _ORDERED, nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("timestamp_us", sa.BigInteger(), nullable=False),
        sa.Column("create_time", UtcDateTime(), nullable=False),
        sa.Column("created_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("uid", "since"),
    )


def _create_partial(name: str, columns: list[str], where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, "assets", columns, unique=unique, sqlite_where=where, postgresql_where=where)
