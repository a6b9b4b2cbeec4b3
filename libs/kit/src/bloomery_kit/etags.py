"""Etags: what a client sends back to prove that it saw the latest state."""

import hashlib

from bloomery_kit.errors import EtagMismatch


def etag_of(*parts: str | int | bytes) -> str:
    """The quoted etag of a state that `parts` identify, such as a uid and a revision."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return f'"{digest.hexdigest()[:20]}"'


def check_etag(given: str, actual: str, name: str) -> None:
    """Raise EtagMismatch if the caller gave an etag and it is not the actual one; without one the last writer wins."""
    if given and given != actual:
        raise EtagMismatch(name, given=given, actual=actual)
