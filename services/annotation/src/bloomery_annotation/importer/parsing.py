"""Running a reader in a thread of its own, batch by batch, so that the event loop stays free and memory bounded."""

import asyncio
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from bloomery_annotation import shapes
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.source import BlobSource
from bloomery_annotation.model import Blob, Problem, Shapes
from bloomery_vision.findings import error, warning
from bloomery_vision.formats import Format, ImportItem, Plan, read, understand

T = TypeVar("T")
MAX_LABEL = 200
MAX_TEXT = 1024


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

    def __init__(self, source: BlobSource, file_format: Format | None, files: Files) -> None:
        self._source, self._format, self._files = source, file_format, files
        self._items = first_of_twins((), files)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="import")

    async def __aenter__(self) -> Self:
        """Nothing happens yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the reader and wait until it has let go of its files."""
        self._source.stop()
        await self._run(self._close)
        self._thread.shutdown(wait=False)

    async def start(self, skip: int) -> Header:
        """Recognise the format and pass over the first `skip` items. Raise FormatError if nothing can be read."""
        return await self._run(lambda: self._start(skip))

    async def take(self, count: int) -> list[ImportItem]:
        """The next items; none at the end. Raise FormatError if nothing more can be read."""
        return await self._run(lambda: [*islice(self._items, count)])

    async def prepare(self, items: Sequence[ImportItem], label_ids: Mapping[str, str]) -> list[Prepared]:
        """Turn items into their stored form; `label_ids` are ids by display name."""
        return await self._run(lambda: [prepare(item, self._files, label_ids) for item in items])

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _close(self) -> None:
        self._items.close()

    def _start(self, skip: int) -> Header:
        plan = understand(self._source, self._format)
        items = with_doubts(read(self._source, plan), plan)
        self._items = first_of_twins(map(storable, items), self._files)
        for _ in islice(self._items, skip):
            pass
        return Header(plan.format, len(plan.images), [_storable(label.name, MAX_LABEL) for label in plan.labels])


def with_doubts(items: Iterable[ImportItem], plan: Plan) -> Iterator[ImportItem]:
    """The items, what the plan has doubts about told beside the first."""
    doubts = tuple(warning(one.code, one.message, hint=one.hint, path=one.example) for one in plan.doubts)
    for item in items:
        yield replace(item, problems=(*doubts, *item.problems))
        doubts = ()


def storable(item: ImportItem) -> ImportItem:
    """The item with texts that every database takes: files may hold NUL and halves of characters."""
    shapes_of_item = tuple(
        replace(
            shape,
            label=_storable(shape.label, MAX_LABEL),
            attributes={_storable(key): _storable(text) for key, text in shape.attributes.items()},
        )
        for shape in item.shapes
    )
    problems = tuple(
        replace(one, message=_storable(one.message), hint=_storable(one.hint), path=_storable(one.path))
        for one in item.problems
    )
    return replace(item, image_path=_storable(item.image_path), shapes=shapes_of_item, problems=problems)


def _storable(text: str, length: int = MAX_TEXT) -> str:
    return text[:length].encode("utf-8", "replace").decode().replace("\0", "?")


def first_of_twins(items: Iterable[ImportItem], files: Files) -> Generator[ImportItem]:
    """The items; of several annotations of the same bytes, only the first one's shapes."""
    for item in items:
        blob = files.get(item.image_path)
        if item.failed or not item.annotated or blob is None:
            yield item
            continue
        path, shapes_hash = files.first_annotation(blob.digest, item.image_path, _hash(item))
        yield item if shapes_hash == _hash(item) else _without_shapes(item, path)


def _hash(item: ImportItem) -> int:
    return hash(tuple((shape.geometry, shape.label) for shape in item.shapes))


def _without_shapes(item: ImportItem, twin: str) -> ImportItem:
    message = f"{twin} is the same image, and was annotated otherwise; its shapes were taken"
    problem = warning("DUPLICATE_IMAGE", message, hint="leave the one with the worse annotation out")
    return replace(item, shapes=(), annotated=False, problems=(*item.problems, problem))


def prepare(item: ImportItem, files: Files, label_ids: Mapping[str, str]) -> Prepared:
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
