"""A model holds its project from its creation on."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NEWEST_LAST = sa.text("SELECT model_uid, content FROM versions ORDER BY ordinal")
_WRITE = sa.text("UPDATE models SET project_uid = :project_uid WHERE uid = :uid")


def upgrade() -> None:
    """Write down what is known of the projects: files lie in a folder that has the uid of theirs."""
    op.add_column("models", sa.Column("project_uid", sa.String, nullable=False, server_default=""))
    op.add_column("models", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    unheld = sa.text("NOT held")
    op.create_index("models_unheld", "models", ["uid"], sqlite_where=unheld, postgresql_where=unheld)
    connection = op.get_bind()
    found = {row.model_uid: _project_uid(row.content) for row in connection.execute(_NEWEST_LAST)}
    for uid, project_uid in found.items():
        connection.execute(_WRITE, {"uid": uid, "project_uid": project_uid})


def _project_uid(content: Any) -> str:
    facts = json.loads(content) if isinstance(content, str) else content
    keys = [str(artifact["logical_key"]) for artifact in facts.get("artifacts", ())]
    return keys[0].partition("/")[0] if keys else ""
