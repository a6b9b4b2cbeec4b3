"""What an entry says, and the table in which it waits."""

from dataclasses import dataclass, fields

import sqlalchemy as sa

_NAME = "audit_entries"
_LONGEST = 1024


@dataclass(frozen=True)
class Outcome:
    """How a call ended: the name of its code, the reason of its error, and the resource that it turned out to be about.

    What is empty in `resource`, `project` and `project_uid` leaves what the entry said at its beginning.
    """

    uid: str
    code: str
    reason: str = ""
    resource: str = ""
    project: str = ""
    project_uid: str = ""


@dataclass(frozen=True)
class Entry:
    """One call as it begins: who, by what, from where, what, and about which resource."""

    uid: str
    subject: str
    authentication: str
    method: str
    resource: str
    project: str
    project_uid: str
    request_id: str
    trace_id: str
    address: str
    forwarded_for: str
    summary: str

    def row(self) -> dict[str, object]:
        """As the table holds it; no text that a caller chose is too long for it, or refused by a database."""
        texts = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: stored(text, 4096 if name == "summary" else _LONGEST) for name, text in texts.items()}


def stored(text: str, longest: int = _LONGEST) -> str:
    """A text as every database takes it."""
    return text[:longest].replace("\0", "\ufffd")


def audit_table(metadata: sa.MetaData) -> sa.Table:
    """Add the table in which entries wait until the access service has taken them."""
    return sa.Table(
        _NAME,
        metadata,
        sa.Column("uid", sa.String, primary_key=True),
        *(
            sa.Column(name, sa.String, nullable=False)
            for name in (
                *("subject", "authentication", "method", "resource", "project", "project_uid"),
                *("request_id", "trace_id", "address", "forwarded_for", "summary"),
            )
        ),
        # Seconds since 1970 by this database's clock, as the call began.
        sa.Column("time", sa.Float, nullable=False, index=True),
        # Empty while the outcome is not known: the call goes on, or the process ended in the middle of it.
        sa.Column("code", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        # Whether the access service has it without its outcome.
        sa.Column("told", sa.Boolean, nullable=False),
    )


ENTRIES = audit_table(sa.MetaData())
