"""The manifest of a dataset version: an index in JSON, and the images with their shapes in Parquet shards.

A shard holds one image a row, in the order of file names across all shards. The content hash is taken over canonical
rows and not over Parquet's bytes, so another writer, compression or shard size gives the same hash.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Self, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bloomery_vision.geometry import Box, Shape
from bloomery_vision.manifest_shapes import FIRST_SHAPE_TYPE, SHAPE_TYPE, from_column, to_record

FORMAT = 2
"""What is written. Format 1, which is read too, has neither `SOURCE_FIELDS` nor what classes were called elsewhere."""
CROPS_FORMAT = 3
"""What is written of crops: the same, and with each image what it was cut out of."""
SOURCE_FIELDS = ("original_name", "source_name", "source_id")
ROW_GROUP = 1000
"""Images of a row group at most; fewer where they have many shapes."""
_ROW_GROUP_SHAPES = 20_000
_DECODED = 50
_COLUMNS = (
    pa.field("asset", pa.string(), nullable=False),
    pa.field("digest", pa.string(), nullable=False),
    pa.field("logical_key", pa.string(), nullable=False),
    pa.field("size_bytes", pa.int64(), nullable=False),
    pa.field("media_type", pa.string(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("split", pa.string(), nullable=False),
    pa.field("group", pa.string(), nullable=False),
    pa.field("file_name", pa.string(), nullable=False),
)
_SCHEMA = pa.schema(
    [
        *_COLUMNS,
        pa.field("shapes", pa.list_(SHAPE_TYPE), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in SOURCE_FIELDS),
    ]
)
_CROP_TYPE = pa.struct(
    [
        pa.field("source_digest", pa.string(), nullable=False),
        pa.field("region", pa.list_(pa.float64()), nullable=False),
        pa.field("box", pa.list_(pa.float64()), nullable=False),
        pa.field("label", pa.string(), nullable=False),
    ]
)
_CROPS_SCHEMA = _SCHEMA.append(pa.field("crop", _CROP_TYPE, nullable=False))
_FIRST_SCHEMA = pa.schema([*_COLUMNS, pa.field("shapes", pa.list_(FIRST_SHAPE_TYPE), nullable=False)])


class ManifestError(ValueError):
    """An index or a shard that cannot be read."""


class NewerManifestError(ManifestError):
    """An index in a format that only newer versions of this package know."""


@dataclass(frozen=True, slots=True)
class Crop:
    """What an image was cut out of, in pixels of that one.

    Attributes:
        source_digest: "sha256:..." of the bytes of the image that it was cut out of.
        region: What was cut out, in whole pixels.
        box: What it is about, as it was annotated.
        label: What that was labelled as, before classes were mapped.
    """

    source_digest: str
    region: Box
    box: Box
    label: str


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of a version.

    Attributes:
        asset: Resource name of the image.
        digest: "sha256:..." of the original bytes.
        logical_key: Where they lie in the object store.
        size_bytes: How many they are.
        media_type: Such as "image/jpeg".
        width: Pixels, EXIF orientation applied.
        height: The same.
        split: "train", "val" or "test".
        group: Images with one group lie in one split; "" for an image of its own.
        file_name: A relative path, unique within the split, also without its suffix and in lower case.
        shapes: What is on it; `label` is the name of the class.
        original_name: What it was called where it came from; "" in format 1, as the two that follow.
        source_name: What its label file calls it, "" where none does.
        source_id: Its id in that file, "" for none.
        crop: What it was cut out of, of which the names and ids are then; None for a whole image.
    """

    asset: str
    digest: str
    logical_key: str
    size_bytes: int
    media_type: str
    width: int
    height: int
    split: str
    group: str
    file_name: str
    shapes: tuple[Shape, ...] = ()
    original_name: str = ""
    source_name: str = ""
    source_id: str = ""
    crop: Crop | None = None


@dataclass(frozen=True, slots=True)
class ManifestShard:
    """A Parquet file of the manifest: where it lies, "sha256:..." of its bytes, its size and its number of images."""

    logical_key: str
    digest: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class ManifestIndex:
    """What a version is, and where its images are listed.

    Attributes:
        content_hash: `ContentHash` of the task, the classes and all rows.
        task: "detect", "segment" or "classify".
        classes: Names in the order of their numbers.
        project_uid: The project that the images belong to.
        read_sequence: The project's sequence that was read.
        shards: In the order of the rows.
        class_ids: What COCO files call the classes, one a class, "" for none; empty where there are none at all.
        supercategories: The groups of the classes, in the same way.
        crops: Whether the images are crops.
    """

    content_hash: str
    task: str
    classes: tuple[str, ...]
    project_uid: str
    read_sequence: int
    shards: tuple[ManifestShard, ...]
    class_ids: tuple[str, ...] = ()
    supercategories: tuple[str, ...] = ()
    crops: bool = False

    def to_json(self) -> bytes:
        """The index file."""
        fields = asdict(self)
        written = CROPS_FORMAT if fields.pop("crops") else FORMAT
        return json.dumps({"format": written, **fields}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read an index file. Raises ManifestError for a damaged one, NewerManifestError for a newer format."""
        try:
            fields = json.loads(data)
            if (found := fields.pop("format")) not in (1, FORMAT, CROPS_FORMAT):
                message = f"a newer version wrote it in format {found}; this one reads up to {CROPS_FORMAT}"
                raise NewerManifestError(message)
            fields["crops"] = found == CROPS_FORMAT
            fields |= {name: tuple(fields.get(name, ())) for name in ("classes", "class_ids", "supercategories")}
            fields["shards"] = tuple(ManifestShard(**shard) for shard in fields["shards"])
            return cls(**fields)
        except (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ManifestError(f"the manifest's index is damaged: {error}") from error


class ShardWriter:
    """Writes one shard, row group by row group, so that memory does not grow with it. Close it, or use `with`.

    Shapes are written with the numbers of their classes; a label outside `classes` is a KeyError. With `crops` every
    row is one.
    """

    def __init__(self, sink: Path | pa.NativeFile, classes: Sequence[str], *, crops: bool = False) -> None:
        self._numbers = {name: number for number, name in enumerate(classes)}
        self._file = pa.OSFile(str(sink), "wb") if isinstance(sink, Path) else None
        self._sink: pa.NativeFile = self._file or sink
        self._schema = _CROPS_SCHEMA if crops else _SCHEMA
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._pending: list[dict[str, object]] = []
        self._shapes = 0
        self.rows = 0
        self.size = 0
        """Bytes written so far, without what waits for its row group to be full."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def write(self, row: ManifestRow) -> None:
        """Append one image."""
        columns: dict[str, object] = {name: getattr(row, name) for name in _SCHEMA.names}
        columns["shapes"] = [to_record(shape, self._numbers[shape.label]) for shape in row.shapes]
        if row.crop:
            columns["crop"] = crop_record(row.crop)
        self._pending.append(columns)
        self._shapes += len(row.shapes)
        self.rows += 1
        if len(self._pending) == ROW_GROUP or self._shapes >= _ROW_GROUP_SHAPES:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        self._flush()
        self._writer.close()
        if self._file:
            self._file.close()

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_pylist(self._pending, schema=self._schema))
            self._pending, self._shapes, self.size = [], 0, self._sink.tell()


def write_shard(rows: Iterable[ManifestRow], classes: Sequence[str]) -> bytes:
    """A small shard as bytes."""
    sink = pa.BufferOutputStream()
    with ShardWriter(sink, classes) as writer:
        for row in rows:
            writer.write(row)
    return cast("bytes", sink.getvalue().to_pybytes())


class ShardReader:
    """Reads the rows of one shard, from a file or from its bytes; `classes` are those of the index.

    Raises ManifestError where it is not a shard of this format.
    """

    def __init__(self, source: Path | bytes, classes: Sequence[str]) -> None:
        self._classes = classes
        try:
            self._file = pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
        except pa.ArrowInvalid as error:
            raise ManifestError(f"the shard is damaged: {error}") from error
        if not any(map(self._file.schema_arrow.equals, (_SCHEMA, _FIRST_SCHEMA, _CROPS_SCHEMA))):
            self.close()
            raise ManifestError("the shard's columns are not those of this format")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def rows(
        self, *, start: int = 0, split: str | None = None, label: str | None = None, shapes: bool = True
    ) -> Iterator[tuple[int, ManifestRow]]:
        """Rows from number `start` on, each with its number; of one split, or with a shape of the class `label`.

        Without `shapes` they are not read, which is faster.

        A crowd is no shape of its class. Row groups without such a row are not read beyond the column that says so.
        """
        first = 0
        for number in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(number).num_rows
            if first + count > start:
                wanted = self._matching(number, split, label)
                yield from self._read(number, first, [index for index in wanted if first + index >= start], shapes)
            first += count

    def has_asset(self, asset: str) -> bool:
        """Whether an image is there, by its resource name."""
        groups = range(self._file.num_row_groups)
        return any(pc.any(pc.equal(self._column(group, "asset"), asset)).as_py() for group in groups)

    def _matching(self, group: int, split: str | None, label: str | None) -> Iterable[int]:
        matching = set(range(self._file.metadata.row_group(group).num_rows))
        if split is not None:
            column = self._column(group, "split")
            matching &= set(pc.indices_nonzero(pc.equal(column, split)).to_pylist())
        if label is not None:
            matching &= self._with_class(group, label)
        return sorted(matching)

    def _with_class(self, group: int, label: str) -> set[int]:
        if label not in self._classes:
            return set()
        shapes = self._column(group, "shapes.list.element.class", "shapes.list.element.crowd")
        each = pc.list_flatten(shapes)
        of_class = pc.equal(pc.struct_field(each, "class"), self._classes.index(label))
        hits = pc.and_not(of_class, pc.struct_field(each, "crowd"))
        return set(pc.filter(pc.list_parent_indices(shapes), hits).to_pylist())

    def _column(self, group: int, *paths: str) -> pa.Array:
        return self._file.read_row_group(group, columns=list(paths)).column(0).combine_chunks()

    def _read(self, group: int, first: int, indices: Sequence[int], shapes: bool) -> Iterator[tuple[int, ManifestRow]]:
        if not indices:
            return
        names = [name for name in self._file.schema_arrow.names if shapes or name != "shapes"]
        table = self._file.read_row_group(group, columns=names)
        for start in range(0, len(indices), _DECODED):
            some = indices[start : start + _DECODED]
            for index, row in zip(some, self._rows(table.take(pa.array(some, pa.int64()))), strict=True):
                yield first + index, row

    def _rows(self, table: pa.Table) -> Iterator[ManifestRow]:
        own: Iterator[tuple[Shape, ...]] = repeat(())
        if "shapes" in table.column_names:
            own = from_column(table.column("shapes").combine_chunks(), self._classes)
            table = table.drop_columns("shapes")
        for columns, shapes in zip(table.to_pylist(), own, strict=False):
            yield ManifestRow(shapes=shapes, crop=_crop(columns.pop("crop", None)), **columns)


def crop_record(crop: Crop) -> dict[str, object]:
    """What a crop was cut out of, as plain values."""
    region, box = ([float(value) for value in astuple(each)] for each in (crop.region, crop.box))
    return {"source_digest": crop.source_digest, "region": region, "box": box, "label": crop.label}


def _crop(record: Mapping[str, Any] | None) -> Crop | None:
    if record is None:
        return None
    return Crop(record["source_digest"], Box(*record["region"]), Box(*record["box"]), record["label"])


def read_shard(source: Path | bytes, classes: Sequence[str]) -> Iterator[ManifestRow]:
    """All rows of a shard. Raises ManifestError as `ShardReader` does."""
    with ShardReader(source, classes) as reader:
        for _, row in reader.rows():
            yield row
