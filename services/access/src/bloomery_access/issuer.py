"""Tokens that an OIDC issuer has signed."""

from datetime import UTC, datetime
from typing import Any, TypeGuard

import jwt

from bloomery_access.keys import Keys
from bloomery_access.model import GROUP, RESERVED, Identity
from bloomery_access.settings import OidcSettings
from bloomery_kit.callers import EXPIRED, UNKNOWN
from bloomery_kit.errors import Unauthenticated

_ALGORITHMS = ("RS256", "ES256")
_SUBJECT_LENGTH = 255
_GROUPS = 200


class Issuer:
    """Verifies tokens of one issuer: its signature, that they are for us, and that they hold now."""

    def __init__(self, settings: OidcSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys

    async def verify(self, token: str) -> Identity:
        """Whose token it is. Raise Unauthenticated, and Unavailable where the issuer's keys cannot be had."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unauthenticated("this is no token of the issuer", UNKNOWN) from error
        # Before anything else, so that nobody chooses how a signature is looked at.
        if header.get("alg") not in _ALGORITHMS:
            raise Unauthenticated(f"the token is not signed with one of {', '.join(_ALGORITHMS)}", UNKNOWN)
        key = await self._keys.get(header.get("kid"))
        if key is None:
            raise Unauthenticated("the token is signed with no key of the issuer", UNKNOWN)
        return self._identity(self._claims(token, key))

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        settings = self._settings
        try:
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired; get another one from the issuer", EXPIRED) from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise Unauthenticated(f"the token is not taken: {error}", UNKNOWN) from error

    def _identity(self, claims: dict[str, Any]) -> Identity:
        settings = self._settings
        subject = claims.get(settings.subject_claim)
        if not is_subject(subject) or subject in RESERVED or subject.startswith(GROUP):
            raise Unauthenticated(f"the token's claim {settings.subject_claim!r} names nobody", UNKNOWN)
        if settings.subject_claim == "email" and claims.get("email_verified") is not True:
            raise Unauthenticated("the issuer has not verified the token's email", UNKNOWN)
        expire = datetime.fromtimestamp(float(claims["exp"]) + settings.leeway_seconds, UTC)
        return Identity(subject, self._groups(claims), expire)

    def _groups(self, claims: dict[str, Any]) -> tuple[str, ...]:
        given = claims.get(self._settings.groups_claim) if self._settings.groups_claim else None
        listed = given if isinstance(given, list) else []
        return tuple([group for group in listed if is_subject(group)][:_GROUPS])


def is_subject(value: object) -> TypeGuard[str]:
    """Whether this may stand for somebody: at most 255 visible characters, blanks inside."""
    return (
        isinstance(value, str) and 0 < len(value) <= _SUBJECT_LENGTH and value.isprintable() and value == value.strip()
    )
