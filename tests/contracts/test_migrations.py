"""Migrations only add, so that two versions run beside each other; one that takes away says so."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

SERVICES = Path(__file__).resolve().parents[2] / "services"
TAKES_AWAY = re.compile(r"\b(drop_table|drop_column|rename_table|new_column_name)\b")
# The last ones from before the rule, when no two versions ran beside each other.
BEFORE = {
    "bloomery_annotation": "0016",
    "bloomery_dataset": "0007",
    "bloomery_inference": "0010",
    "bloomery_trainer": "0010",
}


def scripts() -> list[tuple[str, Script]]:
    found = []
    for folder in sorted(SERVICES.rglob("migrations")):
        config = Config()
        config.set_main_option("script_location", str(folder))
        found += [(folder.parent.name, script) for script in ScriptDirectory.from_config(config).walk_revisions()]
    return found


@pytest.mark.parametrize(
    ("service", "script"), [pytest.param(*each, id=f"{each[0]}-{each[1].revision}") for each in scripts()]
)
def test_a_migration_that_takes_something_away_says_so(service: str, script: Script) -> None:
    takes = bool(TAKES_AWAY.search(Path(script.path).read_text()))
    says = getattr(script.module, "contracts", False)
    assert says == takes or script.revision <= BEFORE.get(service, ""), "write `contracts = True`, or take nothing away"


def test_the_migrations_of_every_service_are_looked_at() -> None:
    services = {service for service, _ in scripts()}
    assert services == {path.parent.name for path in SERVICES.rglob("app.py") if (path.parent / "migrations").exists()}
    assert all(import_module(f"{service}.app").MIGRATIONS for service in services)
