"""Credentials as they are set, or in files that may be exchanged."""

from collections.abc import Callable, Sequence

from bloomery_kit.rotating import lines, rotating
from bloomery_kit.settings import NeighbourSettings, ServiceSettings


def owner_tokens(settings: NeighbourSettings) -> Callable[[], Sequence[str]]:
    """The tokens that hold now: the first is shown and signs, all are accepted."""
    if settings.token_file is not None:
        return rotating("token", lines, settings.token_file)
    assert settings.token is not None
    only = (settings.token.get_secret_value(),)
    return lambda: only


def database_passwords(settings: ServiceSettings) -> Callable[[], Sequence[str]] | None:
    """The passwords to try in turn; None for the one in the URL."""
    file = settings.database_password_file
    return None if file is None else rotating("database", lines, file)
