"""Running a reader in a thread of its own, batch by batch, so that the event loop stays free and memory bounded."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from bloomery_annotation import shapes
from bloomery_annotation.model import Blob, Problem, Shapes
from bloomery_vision.findings import error
from bloomery_vision.formats import Format, ImportItem, Source, detect, read, read_labels
from bloomery_vision.images import SUFFIXES

T = TypeVar("T")


@dataclass(frozen=True)
class Header:
    """What is known before the first item: the format, the number of images, and the labels in the files' order."""

    format: Format
    image_count: int
    labels: Sequence[str]


@dataclass(frozen=True)
class Prepared:
    """An item ready to be saved. Without a blob it cannot be; without shapes there are none to save."""

    item: ImportItem
    blob: Blob | None
    shapes: Shapes | None
    problems: Sequence[Problem]

    @property
    def failed(self) -> bool:
        """Whether the image, or its annotation, could not be used."""
        return self.blob is None or (self.item.annotated and self.shapes is None)


class Parser:
    """A reader's items; use it as a context manager, which ends its thread."""

    def __init__(self, source: Source, file_format: Format | None) -> None:
        self._source, self._format = source, file_format
        self._items: Iterator[ImportItem] = iter(())
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="import")

    async def __aenter__(self) -> Self:
        """Nothing happens yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the reader's files once it stands still."""
        close = getattr(self._items, "close", None)
        if close is not None:
            self._thread.submit(close)
        self._thread.shutdown(wait=False)

    async def start(self, skip: int) -> Header:
        """Recognise the format and pass over the first `skip` items. Raise FormatError if nothing can be read."""
        return await self._run(lambda: self._start(skip))

    async def take(self, count: int) -> list[ImportItem]:
        """The next items; none at the end. Raise FormatError if nothing more can be read."""
        return await self._run(lambda: [*islice(self._items, count)])

    async def prepare(
        self, items: Sequence[ImportItem], files: Mapping[str, Blob], label_ids: Mapping[str, str]
    ) -> list[Prepared]:
        """Turn items into their stored form."""
        return await self._run(lambda: [prepare(item, files, label_ids) for item in items])

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _start(self, skip: int) -> Header:
        file_format = self._format or detect(self._source).format
        # Pascal VOC has no list of labels: to find their order every file would be read twice.
        named = () if file_format is Format.VOC else read_labels(self._source, file_format)
        images = sum(name.lower().endswith(tuple(SUFFIXES)) for name in self._source.names())
        self._items = read(self._source, file_format)
        for _ in islice(self._items, skip):
            pass
        return Header(file_format, images, [label.name for label in named])


def prepare(item: ImportItem, files: Mapping[str, Blob], label_ids: Mapping[str, str]) -> Prepared:
    """The stored form of an item; `label_ids` are ids by display name."""
    problems = [Problem(item.image_path, finding) for finding in item.problems]
    blob = None if item.failed else files.get(item.image_path)
    if blob is None or not item.annotated:
        return Prepared(item, blob, None, problems)
    stored = shapes.pack_values(item.shapes, label_ids.__getitem__)
    if stored.count > shapes.MAX_SHAPES or len(stored.blob) > shapes.MAX_BYTES:
        message = f"it has {stored.count} shapes of {len(stored.blob)} bytes together"
        hint = f"at most {shapes.MAX_SHAPES} shapes and {shapes.MAX_BYTES} bytes fit; cut the image in tiles"
        problems.append(Problem(item.image_path, error("TOO_MANY_SHAPES", message, hint=hint)))
        return Prepared(item, blob, None, problems)
    return Prepared(item, blob, stored, problems)
