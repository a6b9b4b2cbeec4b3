from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

V = TypeVar("V", bound=Message)

# A status travels in trailing metadata, of which clients take 8 KiB in all by default, in base64 and percent encoding.
MESSAGE_BYTES = 600
_TEXT_BYTES = 300
_VIOLATIONS_BYTES = 2000


def clip(text: str, limit: int = _TEXT_BYTES) -> str:
    """The text, cut to `limit` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "..."


def fitting(violations: Sequence[V], more: Callable[[int], V], *, unlisted: int = 0) -> list[V]:
    """The violations, or those that fit and one that says how many more there are, `unlisted` ones included."""
    left = _VIOLATIONS_BYTES
    for index, violation in enumerate(violations):
        left -= violation.ByteSize()
        if left < 0:
            return [*violations[:index], more(len(violations) - index + unlisted)]
    return [*violations, more(unlisted)] if unlisted else list(violations)
