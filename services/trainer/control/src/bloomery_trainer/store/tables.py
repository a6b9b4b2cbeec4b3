"""The trainer's tables. Values made of several fields are documents: JSON of the frozen dataclasses in `model`."""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.types import TypeDecorator

from bloomery_kit.audit import audit_table
from bloomery_kit.database import UtcDateTime
from bloomery_kit.idempotency import idempotency_table
from bloomery_kit.leases import lease_table
from bloomery_kit.sequences import sequence_table
from bloomery_trainer import model

D = TypeVar("D")
_AT_ONCE = 1000


class Unreadable:
    """In the place of a value that cannot be read: whoever asks for it meets the error, and no other row does."""

    def __init__(self, error: ValueError) -> None:
        self.error = error

    def named(self, column: str) -> ValueError:
        """The error with the name of the column."""
        return ValueError(f"`{column}` cannot be read: {self.error}")

    def __getattr__(self, name: str) -> Any:
        """Raise it."""
        raise self.error


def _read(value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return None if value is None else read(value)
    except ValidationError as error:
        # Not the value, which may be anybody's text.
        told = error.errors(include_url=False, include_context=False, include_input=False)
        return Unreadable(ValueError("; ".join(": ".join((*map(str, one["loc"]), one["msg"])) for one in told)))
    except ValueError as error:
        return Unreadable(error)


class Document(TypeDecorator[D], Generic[D]):
    """A dataclass, or anything else that pydantic knows, as JSON text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self.adapter: TypeAdapter[D] = TypeAdapter(kind)

    def process_bind_param(self, value: D | None, _dialect: sa.Dialect) -> str | None:
        """Write it."""
        return None if value is None else self.adapter.dump_json(value).decode()

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> D | None:
        """Read it."""
        found: D | None = _read(value, self.adapter.validate_json)
        return found


class Number(TypeDecorator[enum.IntEnum]):
    """An integer enum."""

    impl = sa.SmallInteger
    cache_ok = True

    def __init__(self, kind: type[enum.IntEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: enum.IntEnum | None, _dialect: sa.Dialect) -> int | None:
        """Write it."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, _dialect: sa.Dialect) -> enum.IntEnum | None:
        """Read it."""
        found: enum.IntEnum | None = _read(value, self.kind)
        return found


class Name(TypeDecorator[enum.StrEnum]):
    """A text enum."""

    impl = sa.String
    cache_ok = True

    def __init__(self, kind: type[enum.StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_result_value(self, value: str | None, _dialect: sa.Dialect) -> enum.StrEnum | None:
        """Read it."""
        found: enum.StrEnum | None = _read(value, self.kind)
        return found


def made(kind: type[D], values: Sequence[Any]) -> D:
    """A dataclass from the columns of a row, in the order of its fields. Raise ValueError for what cannot be read."""
    for place, value in enumerate(values):
        if isinstance(value, Unreadable):
            raise value.named(fields(kind)[place].name)  # type: ignore[arg-type]
    return kind(*values)


def in_batches(items: Sequence[D], size: int = _AT_ONCE) -> Iterator[Sequence[D]]:
    """The items, no more at a time than one statement can name."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


metadata = sa.MetaData()
sequence_table(metadata)
idempotency_table(metadata)
lease_table(metadata)
audit_table(metadata)

REASON: Document[model.Reason] = Document(model.Reason)
ARTIFACT: Document[model.Artifact] = Document(model.Artifact)
STATE = Number(model.State)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("uid", sa.String(32), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True),
    sa.Column("project", sa.String, nullable=False),
    sa.Column("project_uid", sa.String(32), nullable=False),
    sa.Column("job_id", sa.String(63), nullable=False),
    sa.Column("display_name", sa.String, nullable=False),
    sa.Column("labels", Document(Mapping[str, str]), nullable=False),
    sa.Column("group", sa.String(63), nullable=False, server_default=""),
    sa.Column("kind", Number(model.Kind), nullable=False),
    sa.Column("cpus", sa.Float, nullable=False, server_default="0"),
    sa.Column("memory_bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("gpus", sa.Integer, nullable=False, server_default="0"),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("spec", Document(model.Spec), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("creator", sa.String, nullable=False),
    sa.Column("state", STATE, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("reason", REASON),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("infra_failures", sa.Integer, nullable=False),
    sa.Column("retry_delay", sa.Float, nullable=False),
    sa.Column("force", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String, nullable=False, server_default=""),
    sa.Column("held", sa.Boolean, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("progress", Document(model.Progress), nullable=False),
    sa.Column("last_sequence", sa.BigInteger, nullable=False),
    sa.Column("oldest_sequence", sa.BigInteger, nullable=False),
    sa.Column("worked_seconds", sa.Float, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("queue_time", UtcDateTime, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
    sa.Column("start_time", UtcDateTime),
    sa.Column("end_time", UtcDateTime),
    sa.Column("project_held", sa.Boolean, nullable=False, server_default=sa.false()),
    # When what a deleted one left is given back for the last time; not set before the first.
    sa.Column("bury_time", UtcDateTime),
    sa.Column("queued_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Index("jobs_project", "project", "number"),
    # Each list of a project is read in the order of the numbers: a page costs the same wherever it is. The jobs with a
    # label, and those of all projects in one state, are looked for one by one.
    sa.Index("jobs_state", "project", "state", "number"),
    sa.Index("jobs_kind", "project", "kind", "number"),
    sa.Index("jobs_model", "project", "model", "number"),
    sa.Index("jobs_group", "project", "group", "number"),
)
# The id of a deleted job may be used again.
sa.Index(
    "jobs_name",
    jobs.c.project,
    jobs.c.job_id,
    unique=True,
    sqlite_where=~jobs.c.deleted,
    postgresql_where=~jobs.c.deleted,
)

# Conditions as texts: a partial index serves only a query that repeats its condition word for word.
OPEN = jobs.c.state < sa.literal_column("8")
"""Jobs that are not terminal."""
UNSHORTENED = sa.and_(jobs.c.state >= sa.literal_column("8"), jobs.c.oldest_sequence < jobs.c.last_sequence)
"""Terminal jobs whose whole log is there."""
WAITING = jobs.c.state == sa.literal_column("1")
"""Jobs that are PENDING."""
DELETED: sa.ColumnElement[bool] = sa.literal_column("deleted")
"""Jobs that are to be buried."""
UNHELD: sa.ColumnElement[bool] = sa.literal_column("NOT project_held")
"""Jobs that are not known to hold their project."""
sa.Index("jobs_waiting", jobs.c.number, sqlite_where=WAITING, postgresql_where=WAITING)
sa.Index("jobs_open", jobs.c.state, jobs.c.number, sqlite_where=OPEN, postgresql_where=OPEN)
sa.Index("jobs_unshortened", jobs.c.end_time, sqlite_where=UNSHORTENED, postgresql_where=UNSHORTENED)
sa.Index("jobs_deleted", jobs.c.number, sqlite_where=DELETED, postgresql_where=DELETED)
sa.Index("jobs_unheld", jobs.c.number, sqlite_where=UNHELD, postgresql_where=UNHELD)

job_labels = sa.Table(
    "job_labels",
    metadata,
    sa.Column("job_uid", sa.String(32), primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
    sa.Index("job_labels_value", "key", "value"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("job_uid", sa.String(32), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("nonce", sa.String(32), nullable=False),
    sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("secret_hash", sa.String(64), unique=True),
    sa.Column("worker_id", sa.String),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("worker_sequence", sa.BigInteger, nullable=False),
    sa.Column("reports", sa.BigInteger, nullable=False),
    sa.Column("stalled", sa.Boolean, nullable=False),
    sa.Column("publishing", sa.Boolean, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("launched_at", UtcDateTime),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("outcome", Name(model.Outcome)),
    sa.Column("end_reason", REASON),
    sa.Column("finish_state", STATE),
    sa.Column("worked_seconds", sa.Float, nullable=False, server_default="0"),
    sa.Column("incarnation", sa.String, nullable=False, server_default=""),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("job_uid", sa.String(32), primary_key=True),
    sa.Column("last", sa.BigInteger, primary_key=True),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("kinds", sa.SmallInteger, nullable=False),
    sa.Column("level", sa.SmallInteger, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("batch", sa.LargeBinary, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("job_uid", sa.String(32), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("role", sa.String, primary_key=True),
    sa.Column("artifact", ARTIFACT, nullable=False),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("job_uid", sa.String(32), primary_key=True),
    sa.Column("attempt", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("files", Document(tuple[model.CheckpointFile, ...]), nullable=False),
    sa.Column("manifest_key", sa.String, nullable=False),
    sa.Column("best", sa.Boolean, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
)

inputs = sa.Table(
    "inputs",
    metadata,
    sa.Column("project_uid", sa.String(32), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("kept", sa.Boolean, nullable=False),
    sa.Column("use_time", UtcDateTime, nullable=False),
    sa.Index("inputs_use_time", "use_time"),
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("job_uid", sa.String(32), nullable=False, unique=True),
    sa.Column("success", Document(model.Success), nullable=False),
    sa.Column("job", Document(model.Job)),
    sa.Column("create_time", UtcDateTime, nullable=False),
)
