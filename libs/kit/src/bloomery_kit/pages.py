"""Pages of a list, and opaque tokens that hold only for the request that they came from."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from bloomery_kit.errors import FieldViolation, InvalidArgument

Cursor = tuple[str | int | float | bool | None, ...]
_CHECK_BYTES = 12


@dataclass(frozen=True)
class PageRequest:
    """One page to read: at most `size` items after `cursor` (None for the first page)."""

    size: int
    cursor: Cursor | None
    _bound: bytes

    @classmethod
    def parse(
        cls,
        page_size: int,
        page_token: str,
        bound_to: Message | Mapping[str, object],
        *,
        default: int = 50,
        maximum: int = 1000,
    ) -> "PageRequest":
        """Read the paging fields of a List request.

        `bound_to` is the request itself (its paging fields do not count) or its other arguments. Zero means `default`,
        more than `maximum` means `maximum`. Raise InvalidArgument for a negative size, and for a token that is damaged
        or came from a request with other arguments.
        """
        if page_size < 0:
            raise InvalidArgument([FieldViolation("page_size", "must not be negative; 0 means the default")])
        bound = _fingerprint(bound_to)
        cursor = _decode(page_token, bound) if page_token else None
        return cls(min(page_size or default, maximum), cursor, bound)

    def next_token(self, cursor: Cursor) -> str:
        """The token of the page that follows the item at `cursor`."""
        payload = json.dumps(cursor, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_check(payload, self._bound) + payload).decode().rstrip("=")


def _fingerprint(bound_to: Message | Mapping[str, object]) -> bytes:
    if isinstance(bound_to, Mapping):
        return hashlib.sha256(json.dumps(bound_to, sort_keys=True, default=str).encode()).digest()
    copy = type(bound_to)()
    copy.CopyFrom(bound_to)
    for field in ("page_size", "page_token"):
        if field in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(field)
    name = copy.DESCRIPTOR.full_name.encode()
    return hashlib.sha256(name + b"\0" + copy.SerializeToString(deterministic=True)).digest()


def _check(payload: bytes, bound: bytes) -> bytes:
    return hashlib.sha256(bound + payload).digest()[:_CHECK_BYTES]


def _decode(token: str, bound: bytes) -> Cursor:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        check, payload = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(payload, bound):
            raise ValueError("the checksum differs")
        return tuple(json.loads(payload))
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        description = "is not a token of this request; repeat the arguments that it came from, or start without one"
        raise InvalidArgument([FieldViolation("page_token", description)], reason="PAGE_TOKEN_INVALID") from error
