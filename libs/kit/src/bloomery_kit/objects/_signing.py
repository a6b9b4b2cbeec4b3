import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, urlencode

from bloomery_kit.errors import PermissionDenied
from bloomery_kit.objects._protocol import SignedRequest


@dataclass(frozen=True)
class Grant:
    """What a signed URL allows: one method on one key; a PUT of exactly `size` bytes."""

    method: str
    key: str
    size: int | None = None
    filename: str | None = None


class UrlSigner:
    """Makes and checks the URLs `{base_url}/blobs/{key}?...` with an HMAC over all that they allow."""

    def __init__(self, base_url: str, key: bytes, now: Callable[[], float]) -> None:
        if len(key) < 16:
            raise ValueError("a signing key has at least 16 bytes")
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._now = now

    def sign(self, grant: Grant, expires: timedelta) -> SignedRequest:
        """A request that does what `grant` allows, until `expires` from now."""
        deadline = int(self._now() + expires.total_seconds())
        query = {"method": grant.method, "expires": str(deadline)}
        if grant.size is not None:
            query["size"] = str(grant.size)
        if grant.filename is not None:
            query["filename"] = grant.filename
        query["sig"] = self._signature(grant.key, query)
        url = f"{self._base_url}/blobs/{quote(grant.key)}?{urlencode(query)}"
        return SignedRequest(url, datetime.fromtimestamp(deadline, UTC))

    def key_of(self, url: str) -> str | None:
        """The key in a URL of this form, signed or not; None for any other."""
        path = url.partition("?")[0]
        prefix = f"{self._base_url}/blobs/"
        return unquote(path.removeprefix(prefix)) if path.startswith(prefix) else None

    def verify(self, method: str, key: str, query: Mapping[str, str]) -> Grant:
        """What the URL allows. Raise PermissionDenied if it is not ours, was altered, or has expired."""
        fields = {name: value for name, value in query.items() if name != "sig"}
        if not hmac.compare_digest(self._signature(key, fields).encode(), query.get("sig", "").encode()):
            raise PermissionDenied("the URL's signature does not hold; ask for a fresh URL")
        if fields["method"] != ("GET" if method == "HEAD" else method):
            raise PermissionDenied(f"the URL is signed for {fields['method']}, not {method}")
        if self._now() >= int(fields["expires"]):
            raise PermissionDenied("the URL has expired; ask for a fresh one")
        size = fields.get("size")
        return Grant(fields["method"], key, int(size) if size is not None else None, fields.get("filename"))

    def _signature(self, key: str, fields: Mapping[str, str]) -> str:
        text = urlencode([("key", key), *sorted(fields.items())])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
