"""What a token looks like: `bly_ID_SECRET`, of which only the hash of the secret is kept."""

import hashlib
import re
import secrets

_SHAPE = re.compile(r"bly_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_ID_BYTES = 8
_SECRET_BYTES = 32


def draw() -> tuple[str, str, bytes]:
    """The id, the text and the digest of a fresh token; its secret has 256 bits, so that a plain hash hides it."""
    token_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    return token_id, f"bly_{token_id}_{secret}", _digest(secret)


def read(text: str) -> tuple[str, bytes] | None:
    """The id and the digest of what somebody showed; None where it is no such token."""
    match = _SHAPE.fullmatch(text)
    return (match[1], _digest(match[2])) if match else None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
