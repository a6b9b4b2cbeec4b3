"""The tables. `migrations/` creates them; a test compares the two."""

import sqlalchemy as sa

from bloomery_kit.audit import audit_table
from bloomery_kit.database import UtcDateTime
from bloomery_kit.idempotency import idempotency_table
from bloomery_kit.sequences import sequence_table

METADATA = sa.MetaData()
sequence_table(METADATA)
idempotency_table(METADATA)
audit_table(METADATA)

MODELS = sa.Table(
    "models",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("display_name", sa.String, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("latest_version", sa.BigInteger, nullable=False),
    # Empty where a version of this service wrote the row that did not know it yet.
    sa.Column("project_uid", sa.String, nullable=False, server_default=""),
    # Whether it is known to keep its project from being deleted.
    sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.UniqueConstraint("project", "id"),
)
# A partial index serves only a query that repeats its condition word for word.
UNHELD: sa.ColumnElement[bool] = sa.literal_column("NOT held")
sa.Index("models_unheld", MODELS.c.uid, sqlite_where=UNHELD, postgresql_where=UNHELD)

VERSIONS = sa.Table(
    "versions",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    # Place among all versions of the installation, in the order in which they were recorded.
    sa.Column("ordinal", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("job_uid", sa.String, nullable=False, unique=True),
    sa.Column("job", sa.String, nullable=False, index=True),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("note", sa.String, nullable=False, server_default=""),
    # Whether it is offered.
    sa.Column("active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
    # What is in `content` as well, to look for it.
    sa.Column("dataset_version", sa.String, nullable=False, server_default="", index=True),
    sa.Column("base", sa.String, nullable=False, server_default="", index=True),
    sa.UniqueConstraint("model_uid", "number"),
    sa.Index("versions_by_ordinal", "ordinal", unique=True),
)

VARIANTS = sa.Table(
    "variants",
    METADATA,
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("format", sa.String, nullable=False),
    sa.Column("precision", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("job", sa.String, nullable=False, index=True),
    # What the job is asked for beside the form; a version of this service wrote rows that did not know it yet.
    sa.Column("parameters", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("dataset_version", sa.String, nullable=False, server_default=""),
    sa.Column("result", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
    sa.UniqueConstraint("version_uid", "id"),
)

ALIASES = sa.Table(
    "aliases",
    METADATA,
    sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False, index=True),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("updater", sa.String, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
)

# Only ever added to; the numbers of versions outlive them, 0 stands for none.
ALIAS_CHANGES = sa.Table(
    "alias_changes",
    METADATA,
    sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("from_version", sa.BigInteger, nullable=False),
    sa.Column("to_version", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("changer", sa.String, nullable=False),
    sa.Column("figures", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    # How the version was found better than the one before, where that was asked for.
    sa.Column("comparison", sa.JSON(none_as_null=True)),
)

# What EVALUATE jobs measured of versions, in the order of the trainer's feed.
EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("job_uid", sa.String, primary_key=True),
    sa.Column("version_uid", sa.String, sa.ForeignKey("versions.uid"), nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("job", sa.String, nullable=False),
    sa.Column("dataset_version", sa.String, nullable=False),
    sa.Column("metrics", sa.JSON, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    # Id of the variant that was measured; empty for the version itself.
    sa.Column("variant", sa.String, nullable=False, server_default=""),
    sa.Index("evaluations_by_version", "version_uid", "sequence"),
)

FEEDS = sa.Table(
    "feeds",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)

# Jobs whose version was deleted: a result that comes again does not bring it back.
FORGOTTEN_RESULTS = sa.Table("forgotten_results", METADATA, sa.Column("job_uid", sa.String, primary_key=True))

REFUSED_RESULTS = sa.Table(
    "refused_results",
    METADATA,
    sa.Column("job_uid", sa.String, primary_key=True),
    sa.Column("job", sa.String, nullable=False, index=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
)

# Results that could not be recorded for a reason that may pass; they are tried again.
PARKED_RESULTS = sa.Table(
    "parked_results",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("job_uid", sa.String, nullable=False),
    sa.Column("job", sa.String, nullable=False, index=True),
    # The item of the feed, serialized.
    sa.Column("item", sa.LargeBinary, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
)

CLEANUPS = sa.Table(
    "cleanups",
    METADATA,
    sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("keys", sa.JSON, nullable=False),
    # A dataset version or a project, released where it is set.
    sa.Column("dataset_version", sa.String, key="resource", nullable=False),
    sa.Column("holder", sa.String, nullable=False),
    # The files stay while this job is there: it shows them as its own.
    sa.Column("job", sa.String, nullable=False),
    sa.Column("job_uid", sa.String, nullable=False),
    # When it is done for the last time; not set before the first.
    sa.Column("last_time", UtcDateTime),
)

# Whoever changes one holds the row of its model locked, but for `sequence` and what was compared.
DEPLOYMENTS = sa.Table(
    "deployments",
    METADATA,
    sa.Column("project", sa.String, nullable=False),
    sa.Column("id", sa.String, nullable=False),
    sa.Column("uid", sa.String, primary_key=True),
    sa.Column("model_uid", sa.String, sa.ForeignKey("models.uid"), nullable=False, index=True),
    sa.Column("runtime", sa.String, nullable=False),
    # The alias that it moves, "" for none.
    sa.Column("alias", sa.String, nullable=False),
    # The version and the variant as they were asked for.
    sa.Column("target", sa.String, nullable=False),
    sa.Column("variant", sa.String, nullable=False),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("traffic", sa.Integer, nullable=False),
    sa.Column("shadow", sa.Boolean, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    # Uids of variants, "" for none.
    sa.Column("serving", sa.String, nullable=False),
    sa.Column("candidate", sa.String, nullable=False),
    sa.Column("previous", sa.String, nullable=False),
    # Until when `previous` stays loaded, in seconds since 1970 by the database's clock; not set once it has left.
    sa.Column("drained", sa.Float, nullable=True),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("observed", sa.BigInteger, nullable=False),
    # Grows with each change of anything that is shown.
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("failure", sa.String, nullable=False),
    sa.Column("updater", sa.String, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    # The variants between which the counts below were made.
    sa.Column("compared_serving", sa.String, nullable=False),
    sa.Column("compared_candidate", sa.String, nullable=False),
    sa.Column("compared", sa.BigInteger, nullable=False),
    sa.Column("disagreed", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("project", "id"),
)

SERVING_REPLICAS = sa.Table(
    "serving_replicas",
    METADATA,
    sa.Column("runtime", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("incarnation", sa.String, nullable=False),
    sa.Column("endpoint", sa.String, nullable=False),
    # Incarnations that were replaced, the last ones.
    sa.Column("former", sa.JSON, nullable=False),
    sa.Column("models", sa.JSON, nullable=False),
    # The newest plan that it has applied.
    sa.Column("observed", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    # When it last reported, in seconds since 1970 by the database's clock.
    sa.Column("reported", sa.Float, nullable=False),
)

# The newest of each deployment.
DISAGREEMENTS = sa.Table(
    "disagreements",
    METADATA,
    sa.Column("deployment_uid", sa.String, sa.ForeignKey("deployments.uid"), primary_key=True),
    sa.Column("ordinal", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("asset", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("difference", sa.String, nullable=False),
    # Numbers of the versions whose answer was given, and of the other.
    sa.Column("answered", sa.BigInteger, nullable=False),
    sa.Column("other", sa.BigInteger, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
)
