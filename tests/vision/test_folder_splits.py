"""Which split each image of a folder is in."""

import pytest

from tests.vision.folders import annotation, coco, doubts, plan_of, voc

LINE = b"0 0.5 0.5 0.2 0.2"
MAIN = "ImageSets/Main/"


def test_names_with_spaces_are_whole_lines(photo: bytes) -> None:
    files = {f"JPEGImages/shelf {number}.jpg": photo for number in (1, 2, 3)}
    files |= {f"Annotations/shelf {number}.xml": voc() for number in (1, 2, 3)}
    files |= {MAIN + "train.txt": b"shelf 1\r\n", MAIN + "val.txt": b'"shelf 2"\nshelf 3  1\n'}
    plan = plan_of(files)
    assert [plan.splits[f"JPEGImages/shelf {number}.jpg"] for number in (1, 2, 3)] == ["train", "val", "val"]
    assert not plan.doubts


def two_cameras(photo: bytes) -> dict[str, bytes]:
    files = {f"JPEGImages/cam{number}/0001.jpg": photo for number in (1, 2)}
    return files | {f"Annotations/cam{number}/0001.xml": voc() for number in (1, 2)}


@pytest.mark.parametrize(
    "line", ["cam1/0001", "cam1/0001.jpg", "JPEGImages/cam1/0001.jpg", "cam1/0001 -1", "/x/cam1/0001.png"]
)
def test_a_line_may_have_folders_and_an_ending(photo: bytes, line: str) -> None:
    plan = plan_of(two_cameras(photo) | {MAIN + "test.txt": line.encode()})
    assert plan.splits == {"JPEGImages/cam1/0001.jpg": "test"}
    assert doubts(plan) == {"NO_SPLIT": 1}


def test_a_bare_name_of_several_images_is_a_doubt(photo: bytes) -> None:
    plan = plan_of(two_cameras(photo) | {MAIN + "test.txt": b"0001\n"})
    assert not plan.splits
    assert doubts(plan) == {"LISTED_IMAGE_AMBIGUOUS": 1}


def test_lists_of_single_classes_count_where_there_are_no_others(photo: bytes) -> None:
    files = {f"JPEGImages/{name}.jpg": photo for name in "ab"} | {f"Annotations/{name}.xml": voc() for name in "ab"}
    lists = {MAIN + "cat_train.txt": b"a -1\n", MAIN + "cat_val.txt": b"b  0\n", MAIN + "dog_val.txt": b"b 1"}
    assert plan_of(files | lists).splits == {"JPEGImages/a.jpg": "train", "JPEGImages/b.jpg": "val"}


@pytest.mark.parametrize("key", ["val", "valid", "validation", "Validation", "VAL"])
@pytest.mark.parametrize("value", ["images/va", "./images/va/", "../images/va", "['images/va']", "va.txt"])
def test_the_keys_that_trainers_accept(photo: bytes, key: str, value: str) -> None:
    files = {"data.yaml": f"train: images/tr\n{key}: {value}\nnames: [cat]\n".encode(), "va.txt": b"./images/va/b.jpg"}
    files |= {"images/tr/a.jpg": photo, "labels/tr/a.txt": LINE, "images/va/b.jpg": photo, "labels/va/b.txt": LINE}
    assert plan_of(files).splits == {"images/tr/a.jpg": "train", "images/va/b.jpg": "val"}


@pytest.mark.parametrize("value", ["Images/Tr\u00e4in", "images/tra\u0308in", "IMAGES\\TR\u00c4IN", "lists/\u00fc.txt"])
def test_paths_in_any_spelling(photo: bytes, value: str) -> None:
    files = {"data.yaml": f"train: {value}\nnames: [cat]\n".encode(), "lists/u\u0308.txt": b"a.jpg"}
    files |= {"images/tr\u00e4in/a.jpg": photo, "labels/tr\u00e4in/a.txt": LINE}
    assert plan_of(files).splits == {"images/tr\u00e4in/a.jpg": "train"}


def test_a_path_without_images_is_a_doubt(photo: bytes) -> None:
    config = b"train: images\nval: images/va\nnames: [cat]"
    assert doubts(plan_of({"data.yaml": config, "images/a.jpg": photo, "labels/a.txt": LINE})) == {"EMPTY_SPLIT": 1}


def test_what_the_lists_leave_out_has_no_split_and_is_counted(photo: bytes) -> None:
    files = {f"images/train/{name}.jpg": photo for name in "abc"} | {"images/test/d.jpg": photo}
    files |= {f"labels/train/{name}.txt": LINE for name in "abc"}
    listed = b"images/train/a.jpg\nimages/train/b.jpg\n"
    plan = plan_of(files | {"data.yaml": b"train: train.txt\nnames: [cat]", "train.txt": listed})
    found = {"images/train/a.jpg": "train", "images/train/b.jpg": "train", "images/test/d.jpg": "test"}
    assert plan.splits == found
    assert doubts(plan) == {"NO_SPLIT": 1}


def test_one_image_in_two_splits_is_a_doubt(photo: bytes) -> None:
    config = b"train: images\nval: images\nnames: [cat]"
    plan = plan_of({"data.yaml": config, "images/a.jpg": photo, "labels/a.txt": LINE})
    assert plan.splits == {"images/a.jpg": "train"}
    assert doubts(plan) == {"SPLIT_CONFLICT": 1}


def test_lists_at_the_root_count_for_every_format(photo: bytes) -> None:
    files = {"a.png": photo, "b.png": photo, "train.txt": b"a.png\n", "val.txt": b"b\n"}
    for labels in ({"i.json": coco(annotation())}, {"a.xml": voc()}, {}):
        plan = plan_of(files | labels)
        assert plan.splits == {"a.png": "train", "b.png": "val"}
        assert plan.lists == ["train.txt", "val.txt"]


def test_a_configuration_decides_for_its_own_folder_only(photo: bytes) -> None:
    files = {f"{name}/train/a.jpg": photo for name in ("one", "other")}
    files |= {f"{name}/train/a.txt": LINE for name in ("one", "other")}
    files |= {"one/data.yaml": b"train: part.txt\nnames: [cat]", "one/part.txt": b"", "other/classes.txt": b"cat"}
    files |= {"one/part.txt": b"train/b.jpg", "one/train/b.jpg": photo, "one/train/b.txt": LINE}
    assert plan_of(files).splits == {"one/train/b.jpg": "train", "other/train/a.jpg": "train"}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("train2017", "train"),
        ("obj_train_data", "train"),
        ("images-val", "val"),
        ("valid", "val"),
        ("test_images", "test"),
        ("Validation_set", "val"),
        ("trainstation", None),
        ("test bench", None),
    ],
)
def test_folders_name_splits(photo: bytes, folder: str, split: str | None) -> None:
    assert plan_of({f"{folder}/a.jpg": photo}).splits.get(f"{folder}/a.jpg") == split
