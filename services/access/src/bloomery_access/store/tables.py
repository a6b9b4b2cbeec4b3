"""The tables. `migrations/` creates them; a test compares the two."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from bloomery_kit.audit import audit_table
from bloomery_kit.database import UtcDateTime
from bloomery_kit.sequences import sequence_table

METADATA = sa.MetaData()
_Column = sa.Column[object]
# Pages promise the order of bytes, which a database's own collation need not keep.
_ORDERED = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def _required(name: str, kind: object, **options: object) -> _Column:
    return sa.Column(name, kind, nullable=False, **options)  # type: ignore[arg-type]


SEQUENCES = sequence_table(METADATA)
audit_table(METADATA)

PROJECTS = sa.Table(
    "projects",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("id", _ORDERED, unique=True),
)
"""Which project has an id, as the annotation service tells it; none any more where it is NULL."""

MEMBERS = sa.Table(
    "members",
    METADATA,
    # Empty for the whole installation.
    sa.Column("project_uid", sa.String, primary_key=True),
    sa.Column("subject", _ORDERED, primary_key=True),
    _required("role", sa.Integer),
    _required("creator", sa.String),
    _required("create_time", UtcDateTime),
    sa.Index("members_by_subject", "subject"),
)

TOKENS = sa.Table(
    "tokens",
    METADATA,
    sa.Column("id", sa.String, primary_key=True),
    _required("ordinal", sa.BigInteger, unique=True),
    _required("digest", sa.LargeBinary),
    _required("display_name", sa.String),
    _required("subject", sa.String, index=True),
    _required("group_names", sa.JSON),
    _required("role", sa.Integer),
    sa.Column("projects", sa.JSON(none_as_null=True)),
    _required("creator", sa.String, index=True),
    _required("lineage", sa.String),
    _required("create_time", UtcDateTime),
    _required("expire_time", UtcDateTime, index=True),
    sa.Column("last_use_time", UtcDateTime),
    sa.Column("revoke_time", UtcDateTime),
)

AUDIT_LOG = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("time", UtcDateTime),
    _required("subject", sa.String),
    _required("authentication", sa.String),
    _required("method", sa.String),
    _required("resource", sa.String),
    _required("project", sa.String),
    _required("project_uid", sa.String),
    _required("request_id", sa.String),
    _required("trace_id", sa.String),
    # Empty while the outcome is not known.
    _required("code", sa.String),
    _required("reason", sa.String),
    _required("address", sa.String),
    _required("forwarded_for", sa.String),
    _required("summary", sa.String),
    sa.Index("audit_log_by_time", "time", "uid"),
    sa.Index("audit_log_by_project", "project", "time", "uid"),
    sa.Index("audit_log_by_subject", "subject", "time", "uid"),
)
"""The calls of all services; each service's own on their way here are in `audit_entries`."""

QUOTAS = sa.Table(
    "quotas",
    METADATA,
    sa.Column("project_uid", sa.String, primary_key=True),
    # -1 for no limit; NULL where the installation's default holds.
    sa.Column("bytes", sa.BigInteger),
    sa.Column("images", sa.BigInteger),
    sa.Column("running_jobs", sa.BigInteger),
    sa.Column("gpus", sa.BigInteger),
    _required("update_time", UtcDateTime),
)
