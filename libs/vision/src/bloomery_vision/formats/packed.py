"""Names of millions of files in little memory: sorted and compressed in blocks, and what is known of each in a column.

A name takes about 5 bytes where names are numbered and 20 where they are random, a choice of names 4 bytes each.
"""

import marshal
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableSequence, Sequence, ValuesView
from collections.abc import ItemsView as BaseItems
from functools import lru_cache, partial
from heapq import merge
from itertools import compress, islice
from typing import TypeVar, overload

V = TypeVar("V")
_BITS = 6
_BLOCK = 1 << _BITS
_UNPACKED = 1024
"""Blocks that stay unpacked, some megabytes: label files call images in orders of their own."""


class _Blocks:
    """Sorted names in compressed blocks."""

    def __init__(self, names: Iterable[str]) -> None:
        packed: list[bytes] = []
        self._first: list[str] = []
        self.count = 0
        rest = iter(names)
        while block := tuple(islice(rest, _BLOCK)):
            self._first.append(block[0])
            self.count += len(block)
            packed.append(zlib.compress(marshal.dumps(block), 1))
        self.block: Callable[[int], Sequence[str]] = lru_cache(_UNPACKED)(partial(_unpack, packed))

    def find(self, name: str) -> int | None:
        number = bisect_right(self._first, name) - 1
        if number < 0:
            return None
        block = self.block(number)
        place = bisect_left(block, name)
        return number * _BLOCK + place if place < len(block) and block[place] == name else None


def _unpack(packed: Sequence[bytes], number: int) -> Sequence[str]:
    names: Sequence[str] = marshal.loads(zlib.decompress(packed[number]))  # noqa: S302 - written by ourselves
    return names


class Names(Sequence[str]):
    """Sorted names, all of a source or some of them. Equal to any sequence of the same names."""

    __slots__ = ("_at", "_blocks")

    def __init__(self, blocks: _Blocks, at: Sequence[int]) -> None:
        self._blocks, self._at = blocks, at

    @classmethod
    def of(cls, names: Iterable[str]) -> "Names":
        """These names, in order."""
        return names if isinstance(names, Names) else cls.packed(sorted(names))

    @classmethod
    def packed(cls, names: Iterable[str]) -> "Names":
        """Names that come in order already."""
        blocks = _Blocks(names)
        return cls(blocks, range(blocks.count))

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Names": ...
    def __getitem__(self, place: int | slice) -> "str | Names":
        if isinstance(place, slice):
            return Names(self._blocks, self._at[place])
        at = self._at[place]
        return self._blocks.block(at >> _BITS)[at % _BLOCK]

    def __iter__(self) -> Iterator[str]:
        number, block = -1, self._blocks.block
        names: Sequence[str] = ()
        for at in self._at:
            if at >> _BITS != number:
                number = at >> _BITS
                names = block(number)
            yield names[at % _BLOCK]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.place(name) is not None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    def place(self, name: str) -> int | None:
        """Where a name stands among these; None where it does not."""
        at = self._blocks.find(name)
        return None if at is None else self._place(at)

    def _place(self, at: int) -> int | None:
        if isinstance(self._at, range):
            return self._at.index(at) if at in self._at else None
        place = bisect_left(self._at, at)
        return place if place < len(self._at) and self._at[place] == at else None

    def numbered(self, name: str) -> int:
        """Where one of these stands."""
        place = self.place(name)
        assert place is not None, f"{name} is none of the names"
        return place

    def chosen(self, places: Iterable[int]) -> "Names":
        """Those at some places, which are given in order."""
        return Names(self._blocks, array("I", (self._at[place] for place in places)))

    def flagged(self, flags: Sequence[int]) -> "Names":
        """Those whose flag is not 0."""
        return Names(self._blocks, array("I", compress(self._at, flags)))

    def where(self, keep: Callable[[str], bool]) -> "Names":
        """Those that are kept."""
        return Names(self._blocks, array("I", compress(self._at, map(keep, self))))

    def without(self, *others: Iterable[str]) -> "Names":
        """Those that are in none of the others."""
        flags = bytearray(b"\1") * len(self)
        for other in others:
            for place in self._places(other):
                if place is not None:
                    flags[place] = 0
        return self.flagged(flags)

    def _places(self, others: Iterable[str]) -> Iterator[int | None]:
        if isinstance(others, Names) and others._blocks is self._blocks:  # noqa: SLF001 - our own
            return map(self._place, others._at)  # noqa: SLF001
        return map(self.place, others)

    def by(self, key: Callable[[str], str]) -> "Mapping[str, Names]":
        """The names of each key."""
        found: dict[str, array[int]] = {}
        for at, name in zip(self._at, self, strict=True):
            found.setdefault(key(name), array("I")).append(at)
        return {one: Names(self._blocks, some) for one, some in found.items()}

    def and_of(self, *others: "Names") -> "Names":
        """These and others of the same source, of which none is among these."""
        every = [self._at, *(other._at for other in others)]  # noqa: SLF001 - our own
        return Names(self._blocks, array("I", merge(*every))) if others else self


NO_NAMES = Names.packed(())


class Column(Mapping[str, V]):
    """What is known of names: of each at most one value, by the value's number in a list of them, counted from 1."""

    def __init__(self, names: Names, codes: MutableSequence[int], values: Sequence[V]) -> None:
        self.names, self.codes, self._values = names, codes, values

    @classmethod
    def of_all(cls, names: Names, value: V) -> "Column[V]":
        """The same for all names."""
        return cls(names, bytearray(b"\1") * len(names), (value,))

    def __len__(self) -> int:
        return len(self.codes) - self.codes.count(0)

    def __getitem__(self, name: str) -> V:
        if code := self.code(name):
            return self._values[code - 1]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.code(name))

    def __iter__(self) -> Iterator[str]:
        return compress(self.names, self.codes)

    def __repr__(self) -> str:
        return repr(dict(self.items()))

    def items(self) -> BaseItems[str, V]:
        """Read in order, where the names are not looked up again."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """Read in order, where the names are not looked up again."""
        return _Values(self)

    def give(self, name: str, code: int) -> int:
        """Note a value by its number for one that has none; the number of the one that it has then."""
        place = self.names.numbered(name)
        self.codes[place] = self.codes[place] or code
        return self.codes[place]

    def code(self, name: str) -> int:
        """The number of a name's value, 0 for none."""
        place = self.names.place(name)
        return 0 if place is None else self.codes[place]

    def in_order(self) -> Iterator[V]:
        """The values in the order of their names."""
        return (self._values[code - 1] for code in self.codes if code)


class _Items(BaseItems[str, V]):
    def __init__(self, column: Column[V]) -> None:
        super().__init__(column)
        self._column = column

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return zip(self._column, self._column.in_order(), strict=True)


class _Values(ValuesView[V]):
    def __init__(self, column: Column[V]) -> None:
        super().__init__(column)
        self._column = column

    def __iter__(self) -> Iterator[V]:
        return self._column.in_order()


def numbers(count: int) -> "array[int]":
    """So many codes, all 0, for more values than a byte holds."""
    return array("I", bytes(count * array("I").itemsize))
