"""File names of a version's images."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_dataset.naming import Named, file_name
from bloomery_vision.formats.export import stem_of
from bloomery_vision.images import MEDIA_TYPES, SUFFIXES


def file_names(images: Iterable[Named]) -> list[str]:
    """The names of images in the order in which they were added."""
    taken: set[str] = set()

    def take(stem: str) -> bool:
        free = stem not in taken
        taken.add(stem)
        return free

    return [file_name(image, take) for image in images]


def one(display_name: str, media_type: str = "image/jpeg") -> str:
    return file_names([Named("aabcdefghij", display_name, media_type)])[0]


@pytest.mark.parametrize(
    ("display_name", "expected"),
    [
        ("JPEGImages/BloodImage_00001.jpg", "BloodImage_00001.jpg"),
        ("фото 1.jpg", "фото 1.jpg"),
        ("画像.png", "画像.jpg"),
        ("Übung (1).JPG", "Übung (1).JPG"),
        ("U\u0308bung.jpg", "Übung.jpg"),
        ("images/train/cam1/0001.jpg", "cam1/0001.jpg"),
        ("cam2/images/0001.jpg", "cam2/0001.jpg"),
        ("C:\\photos\\a b.JPEG", "a b.JPEG"),
        ("https://example.org/a/b.jpg", "b.jpg"),
        ("../../etc/passwd", "passwd.jpg"),
        ("a/.jpg/1.jpg", "a/_jpg/1.jpg"),
        ("a.jpg/1.jpg", "a.jpg_/1.jpg"),
        ("a.TXT/b.json/1.jpg", "a.TXT_/b.json/1.jpg"),
        (".hidden.jpg", "_hidden.jpg"),
        ("wrong.png", "wrong.jpg"),
        ("v1.2", "v1.2.jpg"),
        ("photo.jfif", "photo.jpg"),
        ("a?b*c.jpg", "a_b_c.jpg"),
        ("CON.jpg", "CON_.jpg"),
        ("con .1.jpg", "con_ .1.jpg"),
        ("nul.x/aux.1.jpg", "nul_.x/aux_.1.jpg"),
        ("cam. /a .jpg", "cam/a.jpg"),
        ("x" * 500 + "/" + "猫" * 200 + ".jpg", "猫" * 60 + ".jpg"),
        ("", "aabcdefghij.jpg"),
    ],
)
def test_a_name_stays_as_it_was_written_but_for_what_a_file_system_refuses(display_name: str, expected: str) -> None:
    assert one(display_name) == expected


@pytest.mark.parametrize(
    ("source_name", "expected"),
    [
        ("cam1/0001.jpg", "cam1/0001.jpg"),
        ("cam1\\0001.JPG", "cam1/0001.JPG"),
        ("images/cam1/0001.jpg", "cam1/0001.jpg"),
        ("D:\\data\\0001.jpg", "photos/0001.jpg"),
        ("/data/0001.jpg", "photos/0001.jpg"),
        ("../0001.jpg", "photos/0001.jpg"),
        ("1a2b3c4d-0001.jpg", "photos/0001.jpg"),
        ("", "photos/0001.jpg"),
    ],
)
def test_the_name_in_the_label_file_wins_where_it_is_a_path_to_the_image(source_name: str, expected: str) -> None:
    assert file_names([Named("aabcdefghij", "photos/0001.jpg", "image/jpeg", source_name)]) == [expected]


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES.values()))
def test_every_format_that_is_taken_has_a_suffix(media_type: str) -> None:
    assert PurePosixPath(one("x", media_type)).suffix in SUFFIXES


def test_an_unknown_format_keeps_its_suffix() -> None:
    assert one("x.PNG", "application/x") == "x.PNG"
    assert one("x.unknown", "application/x") == "x.unknown"


def test_images_of_two_cameras_keep_their_names() -> None:
    images = [Named(f"a{number}bcdefghijk", f"cam{number}/0001.jpg", "image/jpeg") for number in (1, 2)]
    assert file_names(images) == ["cam1/0001.jpg", "cam2/0001.jpg"]


def test_the_first_image_of_a_name_keeps_it() -> None:
    images = [Named(f"a{number}bcdefghijk", "images/X.jpg", "image/jpeg") for number in (1, 2, 3)]
    assert file_names(images) == ["X.jpg", "X-a2bcdefgh.jpg", "X-a3bcdefgh.jpg"]


def test_names_that_are_one_on_some_file_system_are_told_apart() -> None:
    images = [
        Named("a1111111111", "x.jpg", "image/jpeg"),
        Named("a2222222222", "X.jpg", "image/jpeg"),
        Named("a3333333333", "x.png", "image/png"),
        Named("a4444444444", "ß.png", "image/png"),
        Named("a5555555555", "SS.png", "image/png"),
    ]
    assert file_names(images) == ["x.jpg", "X-a22222222.jpg", "x-a33333333.png", "ß.png", "SS-a55555555.png"]


def test_what_follows_the_last_dot_of_an_unknown_format_is_no_part_of_the_stem() -> None:
    images = [
        Named("a1111111111", "0", "image/jpeg"),
        Named("a2222222222", "0.0", "?"),
        Named("a3333333333", "0.1", "?"),
        Named("a4444444444", "0.0", "image/jpeg"),
    ]
    assert file_names(images) == ["0.jpg", "0-a22222222.0", "0-a33333333.1", "0.0.jpg"]


PIECES = st.sampled_from(
    ["/", "\\", ".", "..", " ", ":", "con", "images", "a", "A", "ä", "a\u0308", "猫", ".jpg", ".txt", "\0", "?"]
)
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{n}" for port in ("com", "lpt") for n in "123456789¹²³"
}
"""What Windows takes for a device, with any ending; `PureWindowsPath.is_reserved` goes with Python 3.15."""
NAMES = st.lists(PIECES, max_size=6).map("".join) | st.text(max_size=6)


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["image/jpeg", "image/png"])), max_size=6))
def test_names_are_unique_and_safe_whatever_they_were(drawn: list[tuple[str, str, str]]) -> None:
    images = [Named(f"a{number}", own, media_type, given) for number, (own, given, media_type) in enumerate(drawn)]
    names = file_names(images)
    parts = [part for name in names for part in name.split("/")]
    assert not any(re.search(r'[<>:"\\|?*\x00-\x1f]|^[. ]|[. ]$|^$', part) for part in parts)
    assert not {part.partition(".")[0].rstrip(" ").lower() for part in parts} & DEVICES
    assert not any(len(part.encode()) > 240 for part in parts)
    assert len({stem_of(name).casefold() for name in names}) == len(images)
    # No image or label file is called as a folder is, and trainers find its labels.
    folders = {folder for name in names for folder in map(str, PurePosixPath(name.casefold()).parents)}
    assert not folders & {one.casefold() for name in names for one in (name, f"{stem_of(name)}.txt")}
    assert not any("images" in PurePosixPath(name.lower()).parts[:-1] for name in names)
