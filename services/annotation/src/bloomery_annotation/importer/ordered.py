"""What a reader says of images, in their order and from any place on."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class _Lasting(Iterator[T]):
    """What a generator yields. How that ended is told again: a generator that broke off says next that it is done."""

    def __init__(self, entries: Generator[T]) -> None:
        self._entries = entries
        self._end: Exception | None = None

    def __next__(self) -> T:
        if self._end:
            raise self._end
        try:
            return next(self._entries)
        except Exception as problem:
            self._end = problem
            raise

    def close(self) -> None:
        self._entries.close()


class Ordered(Generic[T]):
    """Entries by place: those about no image that a reader begins with, one for each image, those that it ends with.

    Images are read from any place on, also again, until the first entry behind them was read. `read` yields an entry
    for each image that it takes from its argument. `before` names others that must be read before an image, none of
    which comes behind it.
    """

    def __init__(
        self,
        images: Sequence[str],
        read: Callable[[Iterator[str]], Generator[T]],
        before: Callable[[str], Iterable[str]],
    ) -> None:
        self._images, self._before = images, before
        self._wanted = deque(images[:1])
        self._entries = _Lasting(read(self._take_wanted()))
        self._known = list[T]()
        while self._wanted:
            self._known.append(next(self._entries))
        first = max(0, len(self._known) - 1)
        self.places = range(first, first + len(images))
        """Where the images are."""
        self._behind = self.places.stop

    def close(self) -> None:
        """End the reader."""
        self._entries.close()

    def since(self, place: int) -> Iterator[T]:
        """The entries from a place on; it may be left in the middle."""
        yield from self._known[place:]
        for number in range(max(place, len(self._known)) - self.places.start, len(self._images)):
            yield self._of(self._images[number])
        for entry in self._entries:
            self._behind += 1
            if self._behind > place:
                yield entry

    def _of(self, image: str) -> T:
        self._wanted.extend((*self._before(image), image))
        entry = next(self._entries)
        while self._wanted:
            entry = next(self._entries)
        return entry

    def _take_wanted(self) -> Iterator[str]:
        while self._wanted:
            yield self._wanted.popleft()
