"""The tables, as the migrations make them."""

import sqlalchemy as sa

from bloomery_kit.database import UtcDateTime

DATASETS = sa.table(
    "datasets",
    sa.column("uid", sa.String),
    sa.column("project", sa.String),
    sa.column("dataset", sa.String),
    sa.column("display_name", sa.String),
    sa.column("labels", sa.JSON),
    sa.column("create_time", UtcDateTime),
    sa.column("update_time", UtcDateTime),
    sa.column("revision", sa.Integer),
    sa.column("last_number", sa.BigInteger),
)
VERSIONS = sa.table(
    "versions",
    sa.column("uid", sa.String),
    sa.column("dataset_uid", sa.String),
    sa.column("project_uid", sa.String),
    sa.column("ordinal", sa.BigInteger),
    sa.column("number", sa.BigInteger),
    sa.column("spec", sa.JSON(none_as_null=True)),
    sa.column("state", sa.String),
    sa.column("create_time", UtcDateTime),
    sa.column("update_time", UtcDateTime),
    sa.column("sequence", sa.BigInteger),
    sa.column("done_count", sa.BigInteger),
    sa.column("item_count", sa.BigInteger),
    sa.column("plan", sa.JSON(none_as_null=True)),
    sa.column("product", sa.JSON(none_as_null=True)),
    sa.column("content_hash", sa.String),
    sa.column("failure", sa.JSON(none_as_null=True)),
    sa.column("same_as", sa.String),
    sa.column("lease", sa.String),
    sa.column("lease_until", UtcDateTime),
    sa.column("attempts", sa.Integer),
)
"""`same_as` is the earlier version that a build ended with; such a row is READY and has no number."""
REFERENCES = sa.table(
    "version_references",
    sa.column("version_uid", sa.String),
    sa.column("holder", sa.String),
    sa.column("create_time", UtcDateTime),
)
EXPORTS = sa.table(
    "exports",
    sa.column("version_uid", sa.String),
    sa.column("format", sa.String),
    sa.column("digest", sa.String),
    sa.column("size_bytes", sa.BigInteger),
    sa.column("logical_key", sa.String),
)
CLEANUPS = sa.table(
    "cleanups",
    sa.column("uid", sa.String),
    sa.column("project", sa.String),
    sa.column("holder", sa.String),
    sa.column("prefix", sa.String),
    sa.column("ordinal", sa.BigInteger),
)
