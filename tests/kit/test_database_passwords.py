"""The database's password, exchanged while connections are made."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from bloomery_kit.database import Database
from bloomery_kit.errors import Unavailable
from bloomery_kit.rotating import lines, look_at_all, rotating
from real_parts.postgres import install_postgres

pytestmark = pytest.mark.real_server("postgres")


def demand_passwords(rules: Path) -> None:
    rules.write_text("host all postgres all trust\nhost all all all scram-sha-256\n")


async def asks(url: str, file: Path) -> None:
    """Ask by a connection that was not there before."""
    db = Database.connect(url, passwords=rotating("database", lines, file))
    try:
        await db.check_ready()
    finally:
        await db.close()


async def test_a_password_is_exchanged_while_old_and_new_are_tried(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("old")
    with install_postgres(tmp_path) as installed, installed.running():
        owner = Database.connect(installed.server.url("postgres"))

        async def say(statement: str) -> None:
            async with owner.write() as tx:
                await tx.execute(sa.text(statement))

        await say("CREATE ROLE bloomery LOGIN PASSWORD 'old'")
        demand_passwords(Path(installed.command[2], "pg_hba.conf"))
        await say("SELECT pg_reload_conf()")
        url = installed.server.url("postgres").replace("postgres@", "bloomery:unused@")
        held = Database.connect(url, passwords=rotating("database", lines, file))
        await held.check_ready()
        file.write_text("new\nold")
        await look_at_all()
        await asks(url, file)
        await say("ALTER ROLE bloomery PASSWORD 'new'")
        await asks(url, file)
        file.write_text("new")
        await look_at_all()
        await asks(url, file)
        await held.check_ready()
        file.write_text("wrong")
        await look_at_all()
        with pytest.raises(Unavailable, match="none of the passwords"):
            await asks(url, file)
        await held.close()
        await owner.close()
