"""Requests that nobody means: drawn from what was answered so far, with sense but for some fields, or with none."""

import io
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.api import annotations_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from PIL import Image

_TEXTS = (
    "",
    "-",
    "\0",
    "a\0b",
    "x" * 3000,
    "☃",
    "'; DROP TABLE projects; --",
    "../../etc/passwd",
    "projects/-",
    "projects//assets/",
    "projects/-/models/-/versions/latest",
    "99999999999999999999",
    "latest",
    "main",
    "sha256:" + "0" * 64,
    "http://169.254.169.254/latest",
    "id:\0",
    "label:☃",
    "onnx-fp32",
    "*",
)
_NUMBERS: dict[int, Sequence[Any]] = {
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, 0.5, 1.0, 10.0, -1.0, 1e308, float("nan"), float("inf"), float("-inf")),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, 0.5, -1.0, 1e38, float("nan"), float("inf")),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, 2, 1000, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**64 - 1),
    FieldDescriptor.CPPTYPE_INT32: (0, 1, 2, 50, 1000, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 2**32 - 1),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
}
_DEPTH = 5
_KEPT = 48


def _png(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (200, 60, 90)).save(file, "PNG")
    return file.getvalue()


_IMAGE = _png(48)
# Says that it has 60,000 pixels a side.
_BOMB = _IMAGE[:16] + (60_000).to_bytes(4, "big") * 2 + _IMAGE[24:]
_BYTES = (b"", b"\0", _IMAGE, _IMAGE, _IMAGE[: len(_IMAGE) // 2], _BOMB, b"GIF89a", b"<svg/>", bytes(70_000))


@dataclass
class Memory:
    """What a server has told: names, digests, etags and messages, from which the next requests are made."""

    draw: random.Random
    texts: dict[str, list[str]] = field(default_factory=dict)
    """By the name of the field."""
    names: list[str] = field(default_factory=list)
    messages: dict[str, list[Message]] = field(default_factory=dict)
    """By the full name of their type."""
    accepted: dict[str, list[Message]] = field(default_factory=dict)
    """Requests that were answered, by the full name of the method."""

    def accept(self, method: MethodDescriptor, request: Message) -> None:
        """Remember that a request was answered."""
        self._keep(self.accepted.setdefault(method.full_name, []), request)

    def take_in(self, message: Message) -> None:
        """Remember what is in a message."""
        self._keep(self.messages.setdefault(message.DESCRIPTOR.full_name, []), message)
        for about, value in message.ListFields():
            if about.message_type is not None and about.message_type.GetOptions().map_entry:
                continue
            for one in value if about.is_repeated else [value]:
                if about.message_type is not None:
                    self.take_in(one)
                elif about.type == FieldDescriptor.TYPE_STRING and len(one) < 600:
                    self._keep(self.texts.setdefault(about.name, []), one)
                    self._know(one)

    def _know(self, name: str) -> None:
        """Remember a name, and those of what it lies in."""
        parts = name.split("/")
        if parts[0] == "projects":
            for length in range(2, len(parts) + 1, 2):
                self._keep(self.names, "/".join(parts[:length]))

    def named(self, pattern: str) -> str | None:
        """A name that a pattern such as `projects/*/jobs/*` means, where there is one."""
        fitting = re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))
        found = [name for name in self.names if fitting.fullmatch(name)]
        return self.draw.choice(found) if found else None

    def _keep(self, kept: list[Any], value: Any) -> None:
        if value in kept:
            return
        if len(kept) < _KEPT:
            kept.append(value)
        else:
            kept[self.draw.randrange(_KEPT)] = value


class Nonsense:
    """Draws requests: some have sense but for one field, others none at all."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._draw = memory.draw
        # How likely a field makes sense for itself.
        self._sense = memory.draw.choice((0.2, 0.8, 0.95, 1.0))
        self._crowded = False

    def request(self, method: MethodDescriptor) -> Message:
        """A request of a method: a new one, or one that was answered and has another field or two now."""
        accepted, request, meant = self._memory.accepted.get(method.full_name), new(method.input_type), patterns(method)
        if not accepted or self._draw.random() < 0.5:
            return self._filled(request, meant, prefix="", depth=0)
        request.CopyFrom(self._draw.choice(accepted))
        fields = request.DESCRIPTOR.fields
        for about in self._draw.choices(fields, k=self._draw.randrange(3)) if fields else ():
            request.ClearField(about.name)
            self._fill(request, about, meant, about.name, 0)
        return request

    def _filled(self, message: Message, meant: Mapping[str, str], *, prefix: str, depth: int) -> Message:
        known = self._memory.messages.get(message.DESCRIPTOR.full_name)
        if copied := bool(known and depth and self._draw.random() < self._sense):
            message.CopyFrom(self._draw.choice(known or []))
        for about in message.DESCRIPTOR.fields:
            path = f"{prefix}{about.name}"
            within = any(one.startswith(f"{path}.") for one in meant)
            if path in meant or within or self._draw.random() < self._chance(copied):
                self._fill(message, about, meant, path, depth)
        return message

    def _chance(self, copied: bool) -> float:
        """How likely a field is filled that needs not be."""
        return 0.7 * (1 - self._sense) + (0.0 if copied else 0.3)

    def _fill(self, message: Message, about: FieldDescriptor, meant: Mapping[str, str], path: str, depth: int) -> None:
        there, kind = getattr(message, about.name), about.message_type
        if kind is not None and kind.GetOptions().map_entry:
            self._fill_map(there, kind)
        elif kind is not None:
            for _ in range((self._count() if about.is_repeated else 1) if depth < _DEPTH else 0):
                inner = there.add() if about.is_repeated else there
                inner.SetInParent()
                self._filled(inner, meant, prefix=f"{path}.", depth=depth + 1)
        elif about.is_repeated:
            there.extend([self._value(about, "") for _ in range(self._count())])
        else:
            setattr(message, about.name, self._value(about, meant.get(path, "")))

    def _count(self) -> int:
        # A thousand of a thousand would take half a minute to draw, and be refused unread.
        if self._crowded:
            return self._draw.randrange(2)
        self._crowded = self._draw.random() >= 0.98
        return 1001 if self._crowded else self._draw.choice((0, 1, 1, 2, 3))

    def _fill_map(self, entries: Any, entry: Descriptor) -> None:
        value = entry.fields_by_name["value"]
        for _ in range(self._draw.randrange(3)):
            key = self._value(entry.fields_by_name["key"], "")
            if value.message_type is None:
                entries[key] = self._value(value, "")
            else:
                self._filled(entries[key], {}, prefix="", depth=_DEPTH - 1)

    def _value(self, about: FieldDescriptor, pattern: str) -> Any:
        sense = self._draw.random() < self._sense
        if about.enum_type is not None:
            return self._draw.choice([*(value.number for value in about.enum_type.values), *([] if sense else [99])])
        if about.type == FieldDescriptor.TYPE_BYTES:
            return _IMAGE if sense else self._draw.choice(_BYTES[:-1] if self._crowded else _BYTES)
        if about.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._text(about, pattern) if sense else self._draw.choice([*_TEXTS, *self._memory.names[:9]])
        of_type = _NUMBERS[about.cpp_type]
        return self._draw.choice(of_type[:3] if sense else of_type)

    def _text(self, about: FieldDescriptor, pattern: str) -> str:
        """Something that such a field has had, or could."""
        if pattern and (found := self._memory.named(pattern)):
            return found
        known = self._memory.texts.get(about.name, [])
        if about.name in ("page_token", "filter", "etag") and self._draw.random() < 0.7:
            return ""
        if about.name.endswith("_id") and self._draw.random() < 0.5:
            return f"new-{self._draw.randrange(1000)}"
        return self._draw.choice(known) if known else ""


def new(of: Descriptor) -> Message:
    """An empty message."""
    made: Message = message_factory.GetMessageClass(of)()
    return made


def patterns(method: MethodDescriptor) -> dict[str, str]:
    """What the fields of a request are names of, by their paths: that of its address over HTTP."""
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]
    address = getattr(rule, rule.WhichOneof("pattern") or "get")
    return dict(re.findall(r"{([a-z_.]+)=([^}]+)}", address))
