"""Running a reader in a thread of its own, batch by batch, so that the event loop stays free and memory bounded."""

import asyncio
import json
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from bloomery_annotation import shapes
from bloomery_annotation.importer.files import Files
from bloomery_annotation.importer.ordered import Ordered
from bloomery_annotation.importer.settling import Settled, settle
from bloomery_annotation.importer.source import BlobSource
from bloomery_annotation.model import Blob, Problem, Shapes
from bloomery_vision.findings import Finding, error, warning
from bloomery_vision.formats import Format, ImportItem, LabelSpec, Plan, read, understand
from bloomery_vision.geometry import Shape

T = TypeVar("T")
MAX_LABEL = 200
MAX_TEXT = 1024
_LIST_BYTES = 1 << 18
"""Of each list of a plan, of which there are about fifteen: all fit into the 16 MiB that our clients receive."""
_MOST_AT_ONCE = 16 << 20
"""Bytes of shapes and findings from which on a batch gets no more entries."""


class ImageOutcome(Enum):
    """What becomes of an image; see the contract. The values are the counts of an import."""

    ANNOTATED = "labelled_count"
    EMPTY = "empty_count"
    UNANNOTATED = "unlabelled_count"
    FAILED = "broken_count"
    REPEATED = "repeated_count"


@dataclass(frozen=True)
class Entry:
    """What the files say about one image, or of a label file without one; `is_first` for the first of equal images.

    Without a blob it is not imported: `unused` is an image without copies then. `labelled_by_copy`: a copy is labelled.
    """

    item: ImportItem
    blob: Blob | None
    is_image: bool
    is_first: bool = True
    labelled_by_copy: bool = False
    unused: Blob | None = None


@dataclass(frozen=True)
class Prepared:
    """An entry ready to be saved. Without shapes there are none to save."""

    entry: Entry
    shapes: Shapes | None
    problems: Sequence[Problem]

    @property
    def item(self) -> ImportItem:
        """What the files say."""
        return self.entry.item

    @property
    def blob(self) -> Blob | None:
        """The image; None where it cannot be imported."""
        return self.entry.blob

    @property
    def failed(self) -> bool:
        """Whether the image, or its annotation, could not be used."""
        return self.blob is None or (self.item.annotated and self.shapes is None)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """What becomes of the image, as what it adds to the counts of an import; nothing where it is none.

        Where a copy brings the shapes, the image that was counted as not annotated before it has them.
        """
        if not self.entry.is_image:
            return {}
        if self.blob is None:
            return {ImageOutcome.FAILED.value: 1}
        if self.entry.is_first:
            return {self._annotation.value: 1}
        if self.shapes is None:
            return {ImageOutcome.REPEATED.value: 1}
        return {ImageOutcome.REPEATED.value: 1, ImageOutcome.UNANNOTATED.value: -1, self._annotation.value: 1}

    @property
    def _annotation(self) -> ImageOutcome:
        if self.shapes is None:
            return ImageOutcome.UNANNOTATED
        return ImageOutcome.ANNOTATED if self.shapes.count else ImageOutcome.EMPTY


class Parser:
    """A reader's entries; use it as a context manager, which ends its thread."""

    def __init__(self, source: BlobSource, file_format: Format | None, files: Files) -> None:
        self._source, self._format, self._files = source, file_format, files
        self._entries: Ordered[Entry] | None = None
        self._settled = Settled(Plan(Format.IMAGES))
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

    async def plan(self) -> Plan:
        """What the files are understood to be."""
        return await self._run(self._plan)

    async def start(self, plan: Plan) -> range:
        """Begin to read; the places of the images. Raise FormatError if nothing can be read."""
        return await self._run(lambda: self._start(plan))

    async def take(self, place: int, count: int) -> list[Entry]:
        """The entries from a place on, fewer where they are large; none at the end.

        Images may be taken in any order, what is behind them only last. Raise FormatError if no more can be read.
        """
        return await self._run(lambda: self._take(place, count))

    async def prepare(self, entries: Sequence[Entry], label_ids: Mapping[str, str]) -> list[Prepared]:
        """Turn entries into their stored form; `label_ids` are ids by display name."""
        return await self._run(lambda: [prepare(entry, label_ids) for entry in entries])

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _close(self) -> None:
        if self._entries:
            self._entries.close()

    def _plan(self) -> Plan:
        plan = understand(self._source, self._format)
        labels = {one.name: one for one in map(_storable_label, plan.labels) if one.name}
        self._files.leave_alone(plan.left)
        self._settled = settle(replace(plan, labels=list(labels.values())), self._files)
        return self._settled.plan

    def _take(self, place: int, count: int) -> list[Entry]:
        assert self._entries
        taken, weight = list[Entry](), 0
        for entry in islice(self._entries.since(place), count):
            taken.append(entry)
            weight += _weight(entry.item)
            if weight > _MOST_AT_ONCE:
                break
        return taken

    def _start(self, plan: Plan) -> range:
        def read_some(wanted: Iterator[str]) -> Generator[Entry]:
            items = map(storable, read(self._source, plan, wanted))
            return first_of_twins(items, self._files, plan.images, self._settled)

        def twins(image: str) -> list[str]:
            found = self._files.earlier_twins(image) if self._settled.some_repeat else ()
            return [twin for twin in found if twin in plan.images]

        self._entries = Ordered(plan.images, read_some, twins)
        return self._entries.places


def _weight(item: ImportItem) -> int:
    findings = sum(len(one.message) + len(one.hint) + len(one.path) for one in item.problems)
    return findings + sum(shape.geometry.weight for shape in item.shapes)


def shown(plan: Plan) -> str:
    """A plan as JSON text, with as many names of files as an answer holds."""
    return json.dumps(_storable_values(plan.to_json(limit=_LIST_BYTES)))


def _storable_values(value: object) -> object:
    """A JSON value with texts that every message takes."""
    match value:
        case dict():
            return {key: _storable_values(one) for key, one in value.items()}
        case list():
            return [_storable_values(one) for one in value]
        case str():
            return _storable(value)
    return value


def _storable_label(label: LabelSpec) -> LabelSpec:
    """The label with texts that the database takes: items call theirs so, too."""
    return replace(
        label,
        name=_storable(label.name, MAX_LABEL),
        supercategory=_storable(label.supercategory, MAX_LABEL),
        source_id=_storable(label.source_id, shapes.MAX_ID),
    )


def storable(item: ImportItem) -> ImportItem:
    """The item with texts that every database takes: files may hold NUL and halves of characters."""
    return replace(
        item,
        image_path=_storable(item.image_path),
        source_name=_storable(item.source_name),
        source_id=_storable(item.source_id, shapes.MAX_ID),
        shapes=tuple(map(_storable_shape, item.shapes)),
        shape_ids=tuple(_storable(identifier, shapes.MAX_ID) for identifier in item.shape_ids),
        problems=tuple(map(_storable_finding, item.problems)),
    )


def _storable_shape(shape: Shape) -> Shape:
    # Cut before, as what was asked for stays in memory with its answer.
    label = _storable_name(shape.label[:MAX_LABEL])
    if label == shape.label and not shape.attributes:
        return shape
    return replace(
        shape,
        label=label,
        attributes={_storable(key): _storable(text) for key, text in shape.attributes.items()},
    )


def _storable_finding(one: Finding) -> Finding:
    return replace(one, message=_storable(one.message), hint=_storable(one.hint), path=_storable(one.path))


@lru_cache(1000)
def _storable_name(text: str) -> str:
    return _storable(text, MAX_LABEL)


def _storable(text: str, length: int = MAX_TEXT) -> str:
    if len(text) <= length and text.isascii() and "\0" not in text:
        return text
    return text[:length].encode("utf-8", "replace").decode().replace("\0", "?")


def first_of_twins(
    items: Iterable[ImportItem], files: Files, images: Container[str], settled: Settled
) -> Generator[Entry]:
    """The items; of several annotations of the same bytes, only the first one's shapes."""
    for item in items:
        path, there = item.image_path, files.get(item.image_path)
        is_image = path in images
        if there is None or item.failed:
            yield Entry(item, None, is_image, unused=there if there and files.is_alone(there.digest) else None)
        elif settled.some_repeat:
            is_first, labelled = files.is_first(there.digest, path), path in settled.labelled
            yield Entry(_of_first_twin(item, there, files), there, is_image, is_first, labelled)
        else:
            yield Entry(item, there, is_image)


def _of_first_twin(item: ImportItem, blob: Blob, files: Files) -> ImportItem:
    if not item.annotated:
        return item
    path, shapes_hash = files.first_annotation(blob.digest, item.image_path, _hash(item))
    if path == item.image_path:
        return item
    return replace(item, shapes=(), annotated=False) if shapes_hash == _hash(item) else _without_shapes(item, path)


def _hash(item: ImportItem) -> int:
    return hash(tuple((shape.geometry, shape.label) for shape in item.shapes))


def _without_shapes(item: ImportItem, twin: str) -> ImportItem:
    message = f"{twin} is the same image, and was annotated otherwise; its shapes were taken"
    problem = warning("DUPLICATE_IMAGE", message, hint="leave the one with the worse annotation out")
    return replace(item, shapes=(), annotated=False, problems=(*item.problems, problem))


def prepare(entry: Entry, label_ids: Mapping[str, str]) -> Prepared:
    """The stored form of an entry; `label_ids` are ids by display name."""
    item, blob = entry.item, entry.blob
    problems = [Problem(item.image_path, finding) for finding in item.problems]
    if blob is None or not item.annotated:
        return Prepared(entry, None, problems)
    stored = shapes.pack_values(item.shapes, label_ids.__getitem__, item.shape_ids)
    if stored.count > shapes.MAX_SHAPES or len(stored.blob) > shapes.MAX_BYTES:
        message = f"it has {stored.count} shapes of {len(stored.blob)} bytes together"
        hint = f"at most {shapes.MAX_SHAPES} shapes and {shapes.MAX_BYTES} bytes fit; cut the image in tiles"
        problems.append(Problem(item.image_path, error("TOO_MANY_SHAPES", message, hint=hint)))
        return Prepared(entry, None, problems)
    return Prepared(entry, stored, problems)
