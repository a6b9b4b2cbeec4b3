"""The keys with which an issuer signs: fetched, kept, and looked for again when one is unknown."""

import asyncio
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jwt

from bloomery_access.settings import is_safe
from bloomery_kit.errors import Unavailable

_AGE_SECONDS = 300.0
"""After so long keys are fetched again, so that those that were withdrawn count no more."""
_PAUSE_SECONDS = 10.0
"""Between two fetches, whatever callers show: nobody makes this service hammer an issuer."""
_FETCH_SECONDS = 5.0
_BYTES = 1 << 20
_log = logging.getLogger("bloomery.access.keys")
Fetch = Callable[[str], bytes]


class Keys:
    """An issuer's keys by their ids. Those that are known go on counting while the issuer cannot be reached."""

    def __init__(
        self, issuer: str, *, fetch: "Fetch | None" = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch or _fetch
        self._clock = clock
        self._known: dict[str | None, jwt.PyJWK] = {}
        self._fetched = self._tried = -_AGE_SECONDS
        self._trouble = ""
        self._lock = asyncio.Lock()

    async def get(self, key_id: str | None) -> jwt.PyJWK | None:
        """The key of this id, or the only one where a token names none; None where the issuer has no such key.

        Raise Unavailable ISSUER_UNAVAILABLE where that cannot be told, as the issuer cannot be asked.
        """
        if self._is_due(key_id):
            async with self._lock:
                if self._is_due(key_id):
                    await self._refresh()
        found = self._find(key_id)
        if found is None and self._trouble:
            message = f"the issuer's keys cannot be had: {self._trouble}"
            raise Unavailable("ISSUER_UNAVAILABLE", message, _PAUSE_SECONDS)
        return found

    def _find(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None and len(self._known) == 1:
            return next(iter(self._known.values()))
        return self._known.get(key_id)

    def _is_due(self, key_id: str | None) -> bool:
        now = self._clock()
        if now < self._tried + _PAUSE_SECONDS:
            return False
        return self._find(key_id) is None or now >= self._fetched + _AGE_SECONDS

    async def _refresh(self) -> None:
        self._tried = self._clock()
        try:
            self._known = await asyncio.to_thread(self._read)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, jwt.PyJWTError) as error:
            self._trouble = str(error) or type(error).__name__
            _log.warning("the issuer's keys cannot be had", extra={"issuer": self._issuer, "error": error})
        else:
            self._trouble = ""
            self._fetched = self._tried

    def _read(self) -> dict[str | None, jwt.PyJWK]:
        about: dict[str, Any] = json.loads(self._fetch(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"))
        if about["issuer"] != self._issuer:
            raise ValueError(f"it calls itself {about['issuer']!r}")
        where = about["jwks_uri"]
        if not is_safe(where):
            raise ValueError(f"its keys would come unencrypted from {where}")
        listed = json.loads(self._fetch(where))
        usable = [key for key in listed["keys"] if key.get("use", "sig") == "sig" and key.get("kty") in ("RSA", "EC")]
        found: dict[str | None, jwt.PyJWK] = {}
        for key in usable:
            # One for an algorithm that nobody here knows says nothing about the others.
            with suppress(jwt.PyJWTError):
                found[key.get("kid")] = jwt.PyJWK(key)
        return found


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=_FETCH_SECONDS) as answer:
        body: bytes = answer.read(_BYTES + 1)
    if len(body) > _BYTES:
        raise ValueError("it answers with more than 1 MiB")
    return body
