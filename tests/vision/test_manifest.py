"""What is written to a manifest is what is read from it, whatever the shards look like."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.geometry import Box, Geometry, Mask, Polygon, Shape, Tag
from bloomery_vision.manifest import (
    ROW_GROUP,
    SOURCE_FIELDS,
    ManifestError,
    ManifestIndex,
    ManifestRow,
    ManifestShard,
    NewerManifestError,
    ShardReader,
    ShardWriter,
    read_shard,
    write_shard,
)
from bloomery_vision.manifest_hash import ContentHash, content_hash

CLASSES = ("RBC", "white cell", "Ünïcode/☃")
coordinates = st.floats(0, 1e5, allow_nan=False)
points = st.tuples(coordinates, coordinates)
rings = st.lists(points, min_size=3, max_size=6).map(tuple)
geometries: st.SearchStrategy[Geometry] = st.one_of(
    st.builds(Box, coordinates, coordinates, coordinates, coordinates),
    st.builds(Polygon, rings, st.lists(rings, max_size=2).map(tuple)),
    st.builds(Mask, st.just(4), st.just(3), st.just(b"03:")),
    st.just(Tag()),
)
numbers = st.none() | st.integers(-(2**63), 2**63 - 1)
shapes = st.builds(
    Shape,
    geometries,
    st.sampled_from(CLASSES),
    attributes=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    crowd=st.booleans(),
    group_id=numbers,
    track_id=numbers,
    source_id=st.text(max_size=3),
)


def row(number: int, shapes: Sequence[Shape] = (), split: str = "train") -> ManifestRow:
    digest = f"sha256:{number:064x}"
    return ManifestRow(
        asset=f"projects/p/assets/a{number}",
        digest=digest,
        logical_key=f"uid/{number:064x}",
        size_bytes=1000 + number,
        media_type="image/jpeg",
        width=640,
        height=480,
        split=split,
        group="",
        file_name=f"{number:06d}.jpg",
        shapes=tuple(shapes),
    )


def hashed(rows: Sequence[ManifestRow]) -> str:
    return content_hash(rows, task="detect", classes=CLASSES)


@given(st.lists(st.lists(shapes, max_size=4), max_size=5))
def test_rows_come_back_as_they_were_written(images: list[list[Shape]]) -> None:
    rows = [row(number, image) for number, image in enumerate(images)]

    again = list(read_shard(write_shard(rows, CLASSES), CLASSES))

    assert again == rows
    assert hashed(again) == hashed(rows)


def test_rows_come_back_from_a_file_with_many_row_groups(tmp_path: Path) -> None:
    rows = [row(number, [Shape(Box(1, 2, 3, 4), "RBC")]) for number in range(2 * ROW_GROUP + 1)]
    with ShardWriter(tmp_path / "shard.parquet", CLASSES) as writer:
        for each in rows:
            writer.write(each)

    with ShardReader(tmp_path / "shard.parquet", CLASSES) as reader:
        late = list(reader.rows(start=ROW_GROUP - 1))

    assert writer.rows == len(rows)
    assert late == list(enumerate(rows))[ROW_GROUP - 1 :]


def test_reading_holds_no_more_of_a_file_with_more_row_groups(tmp_path: Path) -> None:
    fewer, more = (most_held(groups, tmp_path / str(groups)) for groups in (2, 8))
    assert more < 1.5 * fewer


def most_held(groups: int, path: Path) -> int:
    """The most bytes of Arrow and of Python objects at once while a file is read."""
    with ShardWriter(path, CLASSES) as writer:
        for number in range(groups * ROW_GROUP):
            writer.write(row(number, [Shape(Box(1, 2, 3, 4), "RBC")]))
    most, before = 0, pa.total_allocated_bytes()
    tracemalloc.start()
    for _ in read_shard(path, CLASSES):
        most = max(most, pa.total_allocated_bytes() - before + tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    return most


def test_rows_are_found_by_split_and_by_class() -> None:
    rows = [
        row(0, [Shape(Tag(), "RBC")]),
        row(1, [Shape(Tag(), "white cell"), Shape(Tag(), "RBC")], split="val"),
        row(2),
        row(3, [Shape(Tag(), "white cell"), Shape(Tag(), "RBC", crowd=True)], split="val"),
    ]
    reader = ShardReader(write_shard(rows, CLASSES), CLASSES)

    assert [number for number, _ in reader.rows(split="val")] == [1, 3]
    assert [number for number, _ in reader.rows(label="RBC")] == [0, 1]
    assert list(reader.rows(label="white cell", start=2)) == [(3, rows[3])]
    assert list(reader.rows(label="unknown")) == []
    assert list(reader.rows(split="test")) == []


def test_the_hash_depends_on_what_the_version_means_and_on_nothing_else() -> None:
    shape = Shape(Box(1, 2, 3, 4), "RBC", attributes={"a": "1", "b": "2"})
    rows = [row(0, [shape]), row(1)]
    swapped = replace(shape, attributes={"b": "2", "a": "1"})
    elsewhere = replace(rows[0], logical_key="other/key", asset="projects/q/assets/a0", shapes=(swapped,))

    assert hashed([elsewhere, rows[1]]) == hashed(rows)
    for other in (
        [replace(rows[0], split="val"), rows[1]],
        [replace(rows[0], shapes=(replace(shape, label="white cell"),)), rows[1]],
        [replace(rows[0], shapes=(replace(shape, crowd=True),)), rows[1]],
        [replace(rows[0], shapes=(replace(shape, geometry=Box(1, 2, 3, 4.5)),)), rows[1]],
        [replace(rows[0], digest=rows[1].digest), rows[1]],
        rows[:1],
        rows[::-1],
    ):
        assert hashed(other) != hashed(rows)
    assert content_hash(rows, task="segment", classes=CLASSES) != hashed(rows)
    assert content_hash(rows, task="detect", classes=CLASSES[::-1]) != hashed(rows)


def test_the_hash_stays_the_same_in_every_release() -> None:
    shape = Shape(Box(0.1, -0.0, 30, 4), "RBC", attributes={"truncated": "1"})

    assert hashed([row(0, [shape])]) == "sha256:da593ca25e7d07d82c3839421087a4b855102711115a2515267c86b1d4f6d9db"


def test_an_index_comes_back_as_it_was_written() -> None:
    shard = ManifestShard("uid/datasets/v/0.parquet", "sha256:" + "0" * 64, 12345, 7)
    index = ManifestIndex("sha256:" + "1" * 64, "detect", CLASSES, "uid", 42, (shard,))

    assert ManifestIndex.from_json(index.to_json()) == index


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": 2}', b'{"format": 1, "classes": 3}'])
def test_a_damaged_index_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        ManifestIndex.from_json(data)


def test_an_index_of_a_newer_version_says_so() -> None:
    with pytest.raises(NewerManifestError, match="format 4"):
        ManifestIndex.from_json(b'{"format": 4, "parts": []}')


def test_a_damaged_shard_is_refused() -> None:
    good = write_shard([row(0)], CLASSES)
    with pytest.raises(ManifestError):
        list(read_shard(good[: len(good) // 2], CLASSES))
    with pytest.raises(ManifestError):
        list(read_shard(b"PAR1", CLASSES))


def test_a_label_without_a_class_cannot_be_written() -> None:
    with pytest.raises(KeyError):
        write_shard([row(0, [Shape(Tag(), "unknown")])], CLASSES)


def test_what_is_called_nothing_elsewhere_has_the_hash_that_it_had_before_that_was_kept() -> None:
    plain = [row(1, [Shape(Box(1, 2, 3, 4), "RBC")])]
    assert hashed(plain) == "sha256:63e651ee3805e1e872c9dfb9942cd699e6c004224ddfbce363dde10a7d81d05c"
    named = [replace(plain[0], source_id="7"), replace(plain[0], original_name="a.jpg")]
    named += [replace(plain[0], shapes=(replace(plain[0].shapes[0], source_id="7"),))]
    assert len({hashed([one]) for one in [*plain, *named]}) == 4
    none = ("", "", "")
    headers = [none, none], [("1", "", ""), none], [none, ("", "", "cells")]
    values = [
        ContentHash(task="detect", classes=CLASSES, class_ids=ids, supercategories=groups).value()
        for ids, groups in headers
    ]
    assert len(set(values)) == 3
    assert values[0] == hashed([])


def test_shards_and_indexes_of_the_first_format_are_read(tmp_path: Path) -> None:
    wanted = row(1, [Shape(Box(1, 2, 3, 4), "RBC", {"a": "b"})])
    table = pq.read_table(pa.BufferReader(write_shard([wanted], CLASSES))).drop_columns(list(SOURCE_FIELDS))
    old = pa.struct([field for field in table.schema.field("shapes").type.value_type if field.name != "source_id"])
    shapes = [
        [{key: value for key, value in one.items() if key != "source_id"} for one in list_]
        for list_ in table["shapes"].to_pylist()
    ]
    column = pa.array(shapes, pa.list_(old))
    index = table.schema.get_field_index("shapes")
    table = table.set_column(index, pa.field("shapes", pa.list_(old), nullable=False), column)
    pq.write_table(table, tmp_path / "shard")
    assert list(read_shard(tmp_path / "shard", CLASSES)) == [wanted]
    text = b'{"format": 1, "content_hash": "h", "task": "detect", "classes": ["a"], "project_uid": "u", '
    text += b'"read_sequence": 1, "shards": []}'
    assert ManifestIndex.from_json(text) == ManifestIndex("h", "detect", ("a",), "u", 1, ())
