"""Credentials as they are set, or in files that may be exchanged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bloomery_kit.rotating import lines, rotating
from bloomery_kit.settings import NeighbourSettings


class DatabaseSettings(Protocol):
    """Settings of whatever connects to PostgreSQL."""

    @property
    def database_password_file(self) -> Path | None:
        """The file with passwords, None where the URL has the only one."""


def owner_tokens(settings: NeighbourSettings) -> Callable[[], Sequence[str]]:
    """The tokens that hold now: the first is shown and signs, all are accepted."""
    if settings.token_file is not None:
        return rotating("token", lines, settings.token_file)
    assert settings.token is not None
    only = (settings.token.get_secret_value(),)
    return lambda: only


def database_passwords(settings: DatabaseSettings) -> Callable[[], Sequence[str]] | None:
    """The passwords to try in turn; None for the one in the URL."""
    file = settings.database_password_file
    return None if file is None else rotating("database", lines, file)
