"""The tables. `migrations/` creates them; a test compares the two."""

import sqlalchemy as sa

from bloomery_kit.audit import audit_table
from bloomery_kit.database import UtcDateTime
from bloomery_kit.idempotency import idempotency_table
from bloomery_kit.leases import lease_table
from bloomery_kit.sequences import sequence_table

METADATA = sa.MetaData()
_Column = sa.Column[object]


def _required(name: str, kind: object, **options: object) -> _Column:
    return sa.Column(name, kind, nullable=False, **options)  # type: ignore[arg-type]


def _version_uid() -> _Column:
    key = sa.ForeignKey("versions.uid", ondelete="CASCADE")
    return sa.Column("version_uid", sa.String, key, primary_key=True)


SEQUENCES = sequence_table(METADATA)
IDEMPOTENCY = idempotency_table(METADATA)
LEASES = lease_table(METADATA)
audit_table(METADATA)

DATASETS = sa.Table(
    "datasets",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("project", sa.String),
    _required("dataset", sa.String),
    _required("display_name", sa.String),
    _required("labels", sa.JSON),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    _required("revision", sa.Integer),
    _required("last_number", sa.BigInteger),
    # Empty where a version of this service wrote the row that did not know it yet.
    _required("project_uid", sa.String, server_default=""),
    # Whether it is known to keep its project from being deleted.
    _required("held", sa.Boolean, server_default=sa.false()),
    sa.UniqueConstraint("project", "dataset"),
)
# A partial index serves only a query that repeats its condition word for word.
UNHELD: sa.ColumnElement[bool] = sa.literal_column("NOT held")
sa.Index("datasets_unheld", DATASETS.c.uid, sqlite_where=UNHELD, postgresql_where=UNHELD)
VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("dataset_uid", sa.String, sa.ForeignKey("datasets.uid"), nullable=False),
    _required("project_uid", sa.String),
    _required("ordinal", sa.BigInteger, unique=True),
    sa.Column("number", sa.BigInteger),
    _required("spec", sa.JSON(none_as_null=True)),
    _required("state", sa.String, index=True),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    _required("sequence", sa.BigInteger),
    _required("done_count", sa.BigInteger),
    _required("item_count", sa.BigInteger),
    sa.Column("plan", sa.JSON(none_as_null=True)),
    sa.Column("product", sa.JSON(none_as_null=True)),
    sa.Column("content_hash", sa.String),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    sa.Column("same_as", sa.String, sa.ForeignKey("versions.uid", ondelete="CASCADE")),
    _required("attempts", sa.Integer),
    sa.UniqueConstraint("dataset_uid", "number"),
    sa.Index("versions_by_content", "dataset_uid", "content_hash"),
)
"""`same_as` is the earlier version that a build ended with; such a row is READY and has no number."""
REFERENCES = sa.Table(
    "version_references",
    METADATA,
    _version_uid(),
    sa.Column("holder", sa.String, primary_key=True),
    _required("create_time", UtcDateTime),
    # How people call the holder; "" where it did not say.
    _required("title", sa.String, server_default=""),
)
EXPORTS = sa.Table(
    "exports",
    METADATA,
    _version_uid(),
    sa.Column("format", sa.String, primary_key=True),
    _required("digest", sa.String),
    _required("size_bytes", sa.BigInteger),
    _required("logical_key", sa.String),
    # How many shapes the format cannot hold as they are, by reason; NULL in archives of before it was counted.
    sa.Column("losses", sa.JSON),
)
CLEANUPS = sa.Table(
    "cleanups",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("project", sa.String),
    _required("holder", sa.String),
    _required("prefix", sa.String),
    _required("ordinal", sa.BigInteger),
    # When it is due for the last time; null until it was done for the first time.
    sa.Column("last_time", UtcDateTime),
)
