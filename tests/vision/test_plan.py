"""The plan itself: what holds for every folder, and how it is shown and stored."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bloomery_vision.formats import FolderSource, Format, FormatError, MappingSource, read, understand
from tests.vision.conftest import MakeImage
from tests.vision.folders import annotation, coco, enormous_plan, plan_of, voc, voc_object

words = st.sampled_from(
    [
        "a",
        "A",
        "b",
        "a b",
        "a%20b",
        "caf\u00e9",
        "cafe\u0301",
        "0001",
        "classes",
        "data",
        "train",
        "val",
        "notes",
        "x_mask",
    ]
)
folders = st.sampled_from(
    [
        "",
        "images",
        "labels",
        "train",
        "JPEGImages",
        "Annotations",
        "ImageSets/Main",
        "SegmentationClass",
        "cam1",
        "masks",
    ]
)
endings = st.sampled_from(
    [".jpg", ".JPG", ".png", ".txt", ".xml", ".json", ".yaml", ".names", ".heic", ".mp4", ".csv", "", ".data", "."]
)
names = st.builds(
    lambda parts, word, ending: "/".join([*filter(None, parts), word + ending]),
    st.lists(folders, max_size=3),
    words,
    endings,
)
contents = st.sampled_from(
    [
        b"",
        b"0 .5 .5 .2 .2\n",
        b"0 .5 .5 .2 .2 .9\n1 .1 .1 .2 .2 .8",
        b"a\nb\n0001\n",
        b"names: [x, y]\ntrain: images\nval: [images/val, 7]\n",
        b"names: {",
        b"classes = 1\nnames = data/obj.names\ntrain = train.txt\n",
        voc(voc_object(1, 1, 9, 9)),
        b"<annotation><object>",
        b"<annotations/>",
        coco(annotation()),
        coco(annotation())[:60],
        b"[1, 2]",
        b"\xff\xfe\x00",
        b"\x89PNG",
    ]
)


@settings(max_examples=300)
@given(files=st.dictionaries(names, contents, max_size=12), wanted=st.sampled_from([None, *Format]))
def test_any_tree_has_a_plan_in_which_each_file_is_once(files: dict[str, bytes], wanted: Format | None) -> None:
    plan = plan_of(files, wanted)
    assert plan == plan_of(files, wanted)
    assert plan.label_of.keys() <= set(plan.images)
    assert plan.splits.keys() <= set(plan.images)
    assert {*plan.label_of.values()} <= {*plan.label_files, *plan.images}
    assert plan.unplaced.keys() <= set(plan.label_files)
    assert all(doubt.message and doubt.hint for doubt in plan.doubts)
    assert all(stop.message and stop.hint for stop in plan.stops)
    json.dumps(plan.to_json())


@settings(max_examples=100)
@given(files=st.dictionaries(names, contents, max_size=12))
def test_reading_a_plan_gives_each_image_once(files: dict[str, bytes]) -> None:
    plan = plan_of(files)
    try:
        items = list(read(MappingSource(files), plan))
    except FormatError:
        assert plan.stops
        return
    found = [item.image_path for item in items if item.image_path in files and item.image_path in plan.images]
    assert sorted(found) == sorted(plan.images)
    assert all(item.failed for item in items if item.image_path not in plan.images)


def test_a_plan_is_shown_as_json(photo: bytes) -> None:
    files = {
        "data.yaml": b"names: [cat, dog]\ntrain: images\n",
        "images/a.jpg": photo,
        "labels/a.txt": b"0 .5 .5 .2 .2",
    }
    files |= {"images/b.jpg": photo, "x.heic": b"", "y.heic": b"", "labels/c.txt": b"0 .5 .5 .2 .2"}
    shown = json.loads(json.dumps(plan_of(files).to_json(limit=200)))
    assert (shown["image_count"], shown["labelled_count"], shown["label_file_count"]) == (2, 1, 2)
    assert shown["unlabelled"] == {"count": 1, "paths": ["images/b.jpg"]}
    assert shown["without_image"] == {"count": 1, "paths": ["labels/c.txt"]}
    assert shown["lists"] == {"count": 1, "paths": ["data.yaml"]}
    (class_list,) = shown["class_lists"]
    assert (class_list["path"], class_list["names"], class_list["folders"]) == (
        "data.yaml",
        {"0": "cat", "1": "dog"},
        ["labels"],
    )
    assert (class_list["name_count"], class_list["folder_count"], shown["class_list_count"]) == (2, 1, 1)
    assert [label["name"] for label in shown["classes"]] == ["cat", "dog"]
    assert (shown["class_count"], shown["split_list_count"], shown["stop_count"]) == (2, 1, 0)
    assert shown["split_lists"] == [{"path": "data.yaml: images", "split": "train", "image_count": 2}]
    assert (shown["split_counts"], shown["without_split_count"]) == ({"train": 2}, 0)
    assert shown["left"] == [{"reason": "picture_not_read", "files": {"count": 2, "paths": ["x.heic", "y.heic"]}}]
    assert [(doubt["code"], doubt["count"]) for doubt in shown["doubts"]] == [("PICTURE_NOT_READ", 2)]
    assert shown["stops"] == []


def test_each_list_of_a_plan_is_cut_by_its_bytes_and_counted() -> None:
    shown = enormous_plan(1000, "é" * 50).to_json(limit=2000)
    assert len(json.dumps(shown, ensure_ascii=False).encode()) < 16 * 2000
    class_lists = shown["class_lists"]
    assert isinstance(class_lists, list)
    (left,) = (one["files"] for one in shown["left"])  # type: ignore[attr-defined]
    lists = [shown[name]["paths"] for name in ("unlabelled", "without_image", "lists")]  # type: ignore[index]
    lists += [left["paths"], class_lists[0]["names"], shown["classes"], shown["split_lists"], shown["stops"]]
    assert all(0 < len(one) < 20 for one in lists)
    counts = [shown[name]["count"] for name in ("unlabelled", "without_image", "lists")]  # type: ignore[index]
    counts += [left["count"], class_lists[0]["name_count"], class_lists[0]["folder_count"]]
    counts += [shown[f"{name}_count"] for name in ("class_list", "class", "split_list", "stop")]
    assert counts == [1000] * len(counts)


class Names:
    """A folder so large that only its names are there."""

    def __init__(self, names: list[str], content: bytes) -> None:
        self._names, self._content = names, content
        self.opened = 0

    def names(self) -> list[str]:
        return self._names

    def open(self, name: str) -> object:
        self.opened += 1
        return MappingSource({name: self._content}).open(name)

    def image_size(self, name: str) -> tuple[int, int]:
        raise NotImplementedError

    def orientation(self, name: str) -> int:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("images", "labels", "content"),
    [
        ("JPEGImages/{}.jpg", "Annotations/{}.xml", voc(voc_object(1, 1, 9, 9))),
        ("images/train/{}.jpg", "labels/train/{}.txt", b"0 .5 .5 .2 .2"),
    ],
)
def test_of_a_large_folder_a_sample_is_opened(images: str, labels: str, content: bytes) -> None:
    names = [pattern.format(number) for number in range(10_000) for pattern in (images, labels)]
    source = Names(names, content)
    started = time.process_time()
    plan = understand(source)  # type: ignore[arg-type]
    assert time.process_time() - started < 5, "about half a second on an idle core"
    assert len(plan.label_of) == 10_000
    assert source.opened < 2_500


class TestFolders:
    def test_a_linked_folder_is_entered_and_a_loop_is_not(self, tmp_path: Path, make_image: MakeImage) -> None:
        elsewhere, folder = tmp_path / "elsewhere", tmp_path / "set"
        (elsewhere / "deep").mkdir(parents=True)
        folder.mkdir()
        (elsewhere / "deep" / "a.png").write_bytes(make_image())
        (folder / "images").symlink_to(elsewhere, target_is_directory=True)
        (elsewhere / "back").symlink_to(folder, target_is_directory=True)
        (folder / "gone").symlink_to(tmp_path / "nowhere")
        (folder / "itself").symlink_to(folder / "itself")
        assert list(FolderSource(folder).names()) == ["images/deep/a.png"]

    def test_one_folder_linked_twice_is_there_twice(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "a.txt").write_bytes(b"")
        (tmp_path / "two").symlink_to(tmp_path / "one", target_is_directory=True)
        assert list(FolderSource(tmp_path).names()) == ["one/a.txt", "two/a.txt"]
