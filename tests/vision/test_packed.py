"""Names in little memory: the same as lists and dictionaries of them, and how little it is."""

import tracemalloc
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats import MappingSource, packed, understand
from bloomery_vision.formats.names import folder_of, nfc
from bloomery_vision.formats.packed import Column, Names
from bloomery_vision.formats.stems import Stems, stems_of
from tests.vision.folders import annotation, coco, voc, voc_object

texts = st.sets(st.text(st.sampled_from("ab/%20.\u00e9\u0301\U0001f600\udc80"), max_size=6), max_size=200)
paths = st.sets(st.builds("{}{}{}".format, st.sampled_from(["", "x/", "x/y/", "e\u0301/", "\u00e9/"]), *[
    st.sampled_from(["a", "A", "b.c", "my%20a", "my a", "e\u0301", "\u00e9"]), st.sampled_from([".jpg", ".png", ""])
]))  # fmt: skip


@given(texts, st.data())
def test_packed_names_are_a_sorted_list(names: set[str], data: st.DataObject) -> None:
    listed, every = sorted(names), Names.of(names)
    kept = data.draw(st.sets(st.sampled_from(listed))) if listed else set()
    chosen, rest = every.where(kept.__contains__), every.without(kept)
    for found, expected in ((every, listed), (chosen, sorted(kept)), (rest, sorted(names - kept))):
        assert list(found) == expected
        assert [found[place] for place in range(len(found))] == expected
        assert [found.place(name) for name in expected] == list(range(len(expected)))
        assert [name in found for name in listed] == [name in expected for name in listed]
        assert found[1:3] == expected[1:3]
    assert every.without(chosen) == rest
    assert chosen.and_of(rest) == every
    assert {folder: list(some) for folder, some in every.by(folder_of).items()} == {
        folder: [name for name in listed if folder_of(name) == folder] for folder in map(folder_of, listed)
    }


@given(texts, st.data())
def test_a_column_is_a_mapping_of_some_names(names: set[str], data: st.DataObject) -> None:
    every = Names.of(names)
    codes = [data.draw(st.integers(0, 2)) for _ in every]
    expected = {name: "xy"[code - 1] for name, code in zip(every, codes, strict=True) if code}
    column = Column(every, bytearray(codes), "xy")
    assert dict(column) == expected
    assert (list(column), list(column.values()), len(column)) == ([*expected], [*expected.values()], len(expected))
    assert list(column.items()) == list(expected.items())
    assert [column.get(name) for name in every] == [expected.get(name) for name in every]
    assert "none of them" not in column


@given(paths, paths)
def test_files_of_a_stem_are_those_that_share_it(names: set[str], asked: set[str]) -> None:
    every = Names.of(names)
    stems = Stems(every)
    for name in asked:
        for stem in stems_of(name):
            sharing = [place for place, one in enumerate(every) if stem in stems_of(one)]
            folders = {nfc(folder_of(every[place])) for place in sharing}
            assert list(stems.places(stem)) == sharing
            assert sorted(stems.folders(stem, len(names))) == sorted(folders)
            assert len(stems.folders(stem, 1)) == min(len(folders), 2)
            within = [place for place in sharing if nfc(folder_of(every[place])) == nfc(folder_of(name))]
            assert list(stems.places(stem, folder_of(name))) == within


def yolo_files(stems: Sequence[str]) -> dict[str, bytes]:
    files = {f"labels/train/{stem}.txt": b"0 .5 .5 .1 .1" for stem in stems}
    return files | {f"images/train/{stem}.jpg": b"" for stem in stems} | {"data.yaml": b"{train: images/train, nc: 1}"}


def voc_files(stems: Sequence[str]) -> dict[str, bytes]:
    files = {f"Annotations/{stem}.xml": voc(voc_object(1, 1, 9, 9)) for stem in stems}
    files |= {f"JPEGImages/{stem}.jpg": b"" for stem in stems}
    return files | {"ImageSets/Main/train.txt": "\n".join(stems).encode()}


def coco_files(stems: Sequence[str]) -> dict[str, bytes]:
    images = [{"id": number, "file_name": f"{stem}.jpg"} for number, stem in enumerate(stems)]
    files = {f"train2017/{stem}.jpg": b"" for stem in stems}
    return files | {"annotations/instances_train2017.json": coco(annotation(), images=images)}


def peak_of_planning(files: dict[str, bytes]) -> int:
    """Bytes that are taken at once while a plan is made of a labelled folder with splits."""
    source = MappingSource(files)
    tracemalloc.start()
    try:
        plan = understand(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(plan.label_of) == len(plan.splits) == len(plan.images) > 0
    return peak


# The lines of a list, and records of COCO that are read together, take more; neither grows with the number of images.
@pytest.mark.parametrize(("made", "allowed"), [(yolo_files, 150), (voc_files, 200), (coco_files, 500)])
def test_each_image_of_a_plan_takes_little_memory(
    made: Callable[[Sequence[str]], dict[str, bytes]], allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As much stays unpacked of any number of names.
    monkeypatch.setattr(packed, "_UNPACKED", 4)
    stems = [f"frame_{number:09d}" for number in range(2000)]
    peak_of_planning(made(stems[:100]))
    few, many = peak_of_planning(made(stems[:1000])), peak_of_planning(made(stems))
    assert many - few < allowed * 1000
