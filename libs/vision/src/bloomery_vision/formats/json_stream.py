"""Reads a JSON object larger than memory, some elements at a time.

The work is done on a window of the text. All elements of a window are decoded by one call where they are objects, which
is several times as fast as one by one, by a fast decoder; what that refuses gets the standard one. Unlike others that
accepts NaN, which Python programs write, so that one bad number costs one annotation and not the file.
"""

import codecs
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import msgspec

from bloomery_vision.formats.model import FormatError
from bloomery_vision.formats.texts import encoding_of

CHUNK = 1 << 20
MAX_ELEMENT = 64 << 20
"""Characters of the largest single element of an array, or value of a key."""

_CUTS = 4
"""Places that are tried for the end of the last whole element in a window."""
_MARK = 4
"""Bytes that tell the encoding."""
_SPACE = " \t\r\n"
_IN_NUMBERS = "0123456789+-.eE"
_FAST = msgspec.json.Decoder()


class _Window:
    """A piece of the text that grows at its end and is forgotten at its beginning."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._at, self._dropped = "", 0, 0
        self._ended = False
        self._one_by_one_until = 0

    def peek(self) -> str:
        """The next character that is no space, or nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._grow():
                return self._text[self._at : self._at + 1]

    def take(self, expected: str) -> str:
        """Consumes the next character, which has to be one of those expected."""
        character = self.peek()
        if not character or character not in expected:
            raise self._broken(f"expected {' or '.join(expected)}, found {character or 'the end'}")
        self._at += 1
        return character

    def values(self) -> list[object]:
        """Consumes at least one value and the commas between several: as many objects as the window holds."""
        self.peek()
        return self._together() or [self.value()]

    def value(self) -> object:
        """Consumes one value."""
        self.peek()
        problem = "it ends too early"
        while len(self._text) - self._at <= MAX_ELEMENT:
            try:
                parsed, end = self._parse(self._text, self._at)
            except RecursionError:
                raise self._broken("it is nested too deeply") from None
            except ValueError as error:
                problem = str(error)
            else:
                # What looks like a number at the end of the window may go on behind it.
                if end < len(self._text) and self._text[end] not in _IN_NUMBERS:
                    self._at = end
                    return parsed
            if not self._grow():
                break
        raise self._broken(problem)

    def _together(self) -> list[object]:
        """Consumes the objects of the window; nothing where that does not work, for whatever reason."""
        if self._dropped + self._at < self._one_by_one_until:
            return []
        if len(self._text) - self._at < CHUNK:
            self._grow()
        end = len(self._text)
        for _ in range(_CUTS):
            end = self._between(end)
            try:
                parsed, length = self._parse_array(f"[{self._text[self._at : end]}]")
            except (ValueError, RecursionError):
                # It is the end of an object inside of an element, or in a text; or something is broken.
                continue
            if parsed:
                # The array may have ended before.
                self._at += length - 2
                return list(parsed)
        self._one_by_one_until = self._dropped + len(self._text)
        return []

    def _parse_array(self, text: str) -> tuple[list[object], int]:
        """The array that a text begins with, and where it ends."""
        with suppress(ValueError, RecursionError):
            return _FAST.decode(text), len(text)
        return self._parse(text)

    def _between(self, end: int) -> int:
        """Where before `end` an object ends that another one follows, or where the window begins."""
        while (end := self._text.rfind("{", self._at, end)) > self._at:
            comma = self._before(end)
            closed = self._before(comma)
            if self._text[comma] == "," and self._text[closed] == "}":
                return closed + 1
        return self._at

    def _before(self, at: int) -> int:
        """The place of the last character before a place that is no space: the window begins with none."""
        at -= 1
        while at > self._at and self._text[at] in _SPACE:
            at -= 1
        return at

    def _grow(self) -> bool:
        # Doubling keeps the work linear where one element spans many chunks.
        wanted = max(CHUNK, len(self._text) - self._at, _MARK if self._decoder is None else 0)
        chunk = b"" if self._ended else self._stream.read(wanted)
        self._ended = self._ended or not chunk
        try:
            more = self._decode(chunk)
        except UnicodeDecodeError as problem:
            message = f"it is not text in {problem.encoding.upper()}: {problem.reason}"
            raise FormatError("BROKEN_FILE", message, "save it as UTF-8") from None
        self._dropped += self._at
        self._text, self._at = self._text[self._at :] + more, 0
        return not self._ended

    def _decode(self, chunk: bytes) -> str:
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder(encoding_of(chunk))()
        return self._decoder.decode(chunk, final=self._ended)

    def _broken(self, message: str) -> FormatError:
        where = f"around character {self._dropped + self._at}"
        return FormatError("BROKEN_FILE", f"it is not valid JSON: {message} ({where})", "write the file again")


def read_arrays(
    stream: BinaryIO, keys: frozenset[str], *, arrays: set[str] | None = None
) -> Iterator[tuple[str, list[object]]]:
    """The elements of the arrays under some keys of a JSON object, in the order of the file, some at a time.

    Args:
        stream: read from where it stands.
        keys: what is yielded; all else is passed over.
        arrays: gets the keys whose arrays are there, be they empty.

    Yields:
        (key, elements), at least one.

    Raises:
        FormatError: BROKEN_FILE, where the text stops being JSON; what came before has been yielded.
    """
    window = _Window(stream)
    window.take("{")
    if window.peek() == "}":
        return
    while True:
        key = window.value()
        window.take(":")
        if key in keys and window.peek() == "[":
            if arrays is not None:
                arrays.add(str(key))
            yield from ((str(key), elements) for elements in _elements(window))
        else:
            window.value()
        if window.take(",}") == "}":
            return


def _elements(window: _Window) -> Iterator[list[object]]:
    window.take("[")
    if window.peek() == "]":
        window.take("]")
        return
    while True:
        yield window.values()
        if window.take(",]") == "]":
            return
