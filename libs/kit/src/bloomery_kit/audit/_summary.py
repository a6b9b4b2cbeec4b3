"""What a request asks for, short enough to keep and without what nobody may read later."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

LONGEST = 4096
"""Bytes of a summary at most."""
_ITEMS = 3
_TEXT = 200
_DEPTH = 6
_ENOUGH = 60
"""Values that are looked at; a request of megabytes costs no more than a small one."""


def summary(request: Message) -> str:
    """A request as JSON of at most 4 KiB: bytes as their number, secrets (`debug_redact`) as "...", lists shortened."""
    text = json.dumps(_Summariser().message(request, 0), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) <= LONGEST:
        return text
    return json.dumps({"shortened": text.encode()[: LONGEST // 3].decode(errors="ignore")}, ensure_ascii=False)


class _Summariser:
    def __init__(self) -> None:
        self._left = _ENOUGH

    def message(self, message: Message, depth: int) -> object:
        if depth > _DEPTH:
            return "..."
        return {field.name: self._field(field, value, depth) for field, value in message.ListFields()}

    def _field(self, field: Any, value: Any, depth: int) -> object:
        if field.GetOptions().debug_redact:
            return "..."
        if isinstance(value, Mapping):
            return self._shortened(value.items(), len(value), lambda pair: {str(pair[0]): self._value(pair[1], depth)})
        if field.is_repeated:
            return self._shortened(value, len(value), lambda one: self._value(one, depth))
        return self._value(value, depth)

    def _shortened(self, values: Iterable[Any], count: int, show: Any) -> object:
        shown = [show(value) for value, _ in zip(values, range(_ITEMS), strict=False)]
        return shown if count <= _ITEMS else [*shown, f"{count - _ITEMS} more"]

    def _value(self, value: Any, depth: int) -> object:
        self._left -= 1
        if self._left < 0:
            return "..."
        if isinstance(value, Message):
            return self.message(value, depth + 1)
        if isinstance(value, bytes):
            return f"{len(value)} bytes"
        return f"{value[:_TEXT]}..." if isinstance(value, str) and len(value) > _TEXT else value
