"""The tables. `migrations/` creates them; a test compares the two."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from bloomery_kit.audit import audit_table
from bloomery_kit.database import UtcDateTime
from bloomery_kit.idempotency import idempotency_table
from bloomery_kit.leases import lease_table
from bloomery_kit.sequences import sequence_table

METADATA = sa.MetaData()
_Column = sa.Column[object]

# Pages and streams promise the order of bytes, which a database's own collation need not keep.
_ORDERED = sa.String().with_variant(postgresql.VARCHAR(collation="C"), "postgresql")


def _required(name: str, kind: object, **options: object) -> _Column:
    return sa.Column(name, kind, nullable=False, **options)  # type: ignore[arg-type]


SEQUENCES = sequence_table(METADATA)
IDEMPOTENCY = idempotency_table(METADATA)
LEASES = lease_table(METADATA)
audit_table(METADATA)

PROJECTS = sa.Table(
    "projects",
    METADATA,
    sa.Column("id", _ORDERED, primary_key=True),
    _required("uid", sa.String, unique=True),
    _required("display_name", sa.String),
    _required("labels", sa.JSON),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    _required("revision", sa.Integer),
    _required("asset_count", sa.BigInteger),
    # Rises whenever blobs are collected, so that an upload at the same time finds out.
    _required("sweeps", sa.BigInteger, server_default="0"),
    # Of its blobs, each content once, without those that are being collected.
    _required("size_bytes", sa.BigInteger, server_default="0"),
)

DELETED_PROJECTS = sa.Table(
    "deleted_projects",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("delete_time", UtcDateTime),
)

UNTOLD_PROJECTS = sa.Table(
    "untold_projects",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("project", sa.String, index=True),
    _required("creator", sa.String),
    _required("gone", sa.Boolean),
)

PROJECT_REFERENCES = sa.Table(
    "project_references",
    METADATA,
    sa.Column("project_uid", sa.String, primary_key=True),
    sa.Column("holder", sa.String, primary_key=True),
    _required("create_time", UtcDateTime),
    _required("title", sa.String, server_default=""),
)

LABELS = sa.Table(
    "labels",
    METADATA,
    sa.Column("project_uid", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    _required("uid", sa.String),
    _required("display_name", sa.String),
    _required("color", sa.String),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    _required("position", sa.BigInteger),
    _required("revision", sa.Integer),
    _required("shape_count", sa.BigInteger),
    # Who deletes it with its shapes at the moment, empty for nobody.
    _required("deleted_by", sa.String, server_default=""),
    _required("former_names", sa.JSON, server_default="[]"),
    _required("supercategory", sa.String, server_default=""),
    _required("source_id", sa.String, server_default=""),
    sa.UniqueConstraint("project_uid", "display_name", name="labels_display_name"),
)

BLOBS = sa.Table(
    "blobs",
    METADATA,
    sa.Column("project_uid", sa.String, primary_key=True),
    sa.Column("digest", sa.String, primary_key=True),
    _required("size_bytes", sa.BigInteger),
    _required("media_type", sa.String),
    _required("width", sa.Integer),
    _required("height", sa.Integer),
    _required("problem_code", sa.String),
    _required("problem_message", sa.String),
    _required("problem_hint", sa.String),
    _required("create_time", UtcDateTime),
    # When a client last asked for it or brought it, and whether it is being collected and counts as missing.
    _required("use_time", UtcDateTime),
    _required("going", sa.Boolean, server_default=sa.false()),
)

sa.Index(
    "blobs_going",
    BLOBS.c.project_uid,
    BLOBS.c.digest,
    sqlite_where=BLOBS.c.going.is_(True),
    postgresql_where=BLOBS.c.going.is_(True),
)

# The bytes of small blobs that are no images; those of all others lie in the object store.
BLOB_CONTENTS = sa.Table(
    "blob_contents",
    METADATA,
    sa.Column("project_uid", sa.String, primary_key=True),
    sa.Column("digest", sa.String, primary_key=True),
    _required("content", sa.LargeBinary),
)

# A row is one state of an asset, from the sequence `since` to before `until`; the present one has no `until`. States
# that are over stay, for whoever still reads an earlier moment.
ASSETS = sa.Table(
    "assets",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("since", sa.BigInteger, primary_key=True),
    sa.Column("until", sa.BigInteger),
    _required("project_uid", sa.String),
    _required("id", _ORDERED),
    _required("digest", sa.String),
    _required("display_name", sa.String),
    _required("size_bytes", sa.BigInteger),
    _required("media_type", sa.String),
    _required("width", sa.Integer),
    _required("height", sa.Integer),
    _required("split", sa.String),
    _required("imported_split", sa.String, server_default=""),
    _required("source_name", sa.String, server_default=""),
    _required("source_id", sa.String, server_default=""),
    _required("labels", sa.JSON),
    _required("parent", sa.String),
    _required("timestamp_us", sa.BigInteger),
    _required("create_time", UtcDateTime),
    _required("created_sequence", sa.BigInteger),
    sa.Index("assets_by_id", "project_uid", "id", "since"),
    sa.Index("assets_by_digest", "project_uid", "digest"),
)


def _present(name: str, *columns: str, unique: bool = False, where: sa.ColumnElement[bool] | None = None) -> None:
    condition = ASSETS.c.until.is_(None) if where is None else sa.and_(ASSETS.c.until.is_(None), where)
    keys = [ASSETS.c[column] for column in columns]
    sa.Index(name, *keys, unique=unique, sqlite_where=condition, postgresql_where=condition)


_present("assets_alive", "project_uid", "id", unique=True)
_present("assets_by_creation", "project_uid", "created_sequence")
_present("assets_by_parent", "project_uid", "parent", "timestamp_us", "created_sequence", where=ASSETS.c.parent != "")

ANNOTATION_SETS = sa.Table(
    "annotation_sets",
    METADATA,
    sa.Column("asset_uid", sa.String, primary_key=True),
    sa.Column("id", _ORDERED, primary_key=True),
    _required("project_uid", sa.String),
    _required("asset_id", _ORDERED),
    _required("revision", sa.BigInteger),
    _required("sequence", sa.BigInteger),
    _required("shapes_digest", sa.LargeBinary),
    _required("source", sa.String),
    _required("agent", sa.String),
    _required("author", sa.String),
    _required("run", sa.String, server_default=""),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    sa.Index("annotation_sets_by_asset", "project_uid", "asset_id", "id"),
)

REVISIONS = sa.Table(
    "revisions",
    METADATA,
    sa.Column("asset_uid", sa.String, primary_key=True),
    sa.Column("set_id", sa.String, primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    _required("project_uid", sa.String),
    _required("asset_id", sa.String),
    _required("sequence", sa.BigInteger),
    _required("shapes", sa.LargeBinary),
    _required("size_bytes", sa.BigInteger),
    _required("source", sa.String),
    _required("agent", sa.String),
    _required("author", sa.String),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    sa.Index("revisions_by_sequence", "project_uid", "sequence", unique=True),
    sa.Index("revisions_by_moment", "asset_uid", "set_id", "sequence"),
)

SET_LABELS = sa.Table(
    "set_labels",
    METADATA,
    sa.Column("asset_uid", sa.String, primary_key=True),
    sa.Column("set_id", sa.String, primary_key=True),
    sa.Column("label_id", sa.String, primary_key=True),
    _required("project_uid", sa.String),
    _required("shape_count", sa.BigInteger),
    sa.Index("set_labels_by_label", "project_uid", "label_id"),
)

IMPORTS = sa.Table(
    "imports",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    _required("project_uid", sa.String),
    _required("id", sa.String),
    _required("display_name", sa.String),
    _required("format", sa.String),
    sa.Column("asked_format", sa.String),
    _required("fingerprint", sa.String, server_default=""),
    _required("file_list", sa.String, server_default=""),
    _required("plan_only", sa.Boolean, server_default=sa.false()),
    _required("strict", sa.Boolean, server_default=sa.false()),
    _required("state", sa.String, index=True),
    _required("cancel_requested", sa.Boolean),
    _required("failure_reason", sa.String),
    _required("failure_message", sa.String),
    _required("item_count", sa.BigInteger),
    _required("done_count", sa.BigInteger),
    _required("asset_count", sa.BigInteger),
    _required("annotated_count", sa.BigInteger),
    _required("unchanged_count", sa.BigInteger),
    _required("failed_count", sa.BigInteger),
    _required("shape_count", sa.BigInteger),
    _required("problem_count", sa.BigInteger),
    *(
        _required(name, sa.BigInteger, server_default="0")
        for name in (
            "read_count",
            "labelled_count",
            "empty_count",
            "unlabelled_count",
            "broken_count",
            "repeated_count",
            "edited_count",
            "split_count",
        )
    ),
    _required("problem_codes", sa.JSON, server_default="{}"),
    _required("shared_epoch", sa.BigInteger, server_default="0"),
    _required("position", sa.BigInteger),
    _required("sequence", sa.BigInteger),
    _required("create_time", UtcDateTime),
    _required("update_time", UtcDateTime),
    sa.UniqueConstraint("project_uid", "id", name="imports_id"),
    sa.Index("imports_by_position", "project_uid", "position"),
)

IMPORT_PLANS = sa.Table(
    "import_plans",
    METADATA,
    sa.Column("import_uid", sa.String, primary_key=True),
    _required("project_uid", sa.String, index=True),
    _required("plan", sa.Text),
)

IMPORT_FILES = sa.Table(
    "import_files",
    METADATA,
    sa.Column("import_uid", sa.String, primary_key=True),
    sa.Column("path", sa.String, primary_key=True),
    _required("project_uid", sa.String, index=True),
    _required("digest", sa.String),
)

IMPORT_PROBLEMS = sa.Table(
    "import_problems",
    METADATA,
    sa.Column("import_uid", sa.String, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    _required("project_uid", sa.String, index=True),
    _required("item", sa.String),
    _required("severity", sa.String),
    _required("code", sa.String),
    _required("message", sa.String),
    _required("hint", sa.String),
    _required("path", sa.String),
)

OWNED_BY_PROJECT = (
    SET_LABELS,
    ANNOTATION_SETS,
    REVISIONS,
    ASSETS,
    IMPORT_PLANS,
    IMPORT_PROBLEMS,
    IMPORT_FILES,
    IMPORTS,
    LABELS,
    PROJECT_REFERENCES,
    BLOB_CONTENTS,
    BLOBS,
)
"""What is removed with a project, each by its `project_uid`."""
