"""File names of a version's images."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_dataset.naming import Named, file_name
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
        ("C:\\photos\\a b.JPEG", "a_b.jpeg"),
        ("../../etc/passwd", "passwd.jpg"),
        ("Übung (1).jpg", "Ubung_1.jpg"),
        ("写真.jpg", "aabcdefghij.jpg"),
        (".hidden.jpg", "hidden.jpg"),
        ("wrong.png", "wrong.jpg"),
        ("v1.2", "v1.2.jpg"),
        ("", "aabcdefghij.jpg"),
    ],
)
def test_a_name_is_plain_and_has_the_suffix_of_its_format(display_name: str, expected: str) -> None:
    assert one(display_name) == expected


@pytest.mark.parametrize("media_type", sorted(MEDIA_TYPES.values()))
def test_every_format_that_is_taken_has_a_suffix(media_type: str) -> None:
    assert PurePosixPath(one("x", media_type)).suffix in SUFFIXES


def test_an_unknown_format_keeps_a_known_suffix() -> None:
    assert one("x.PNG", "application/x") == "x.png"
    assert one("x.unknown", "application/x") == "x.unknown"


def test_the_first_image_of_a_name_keeps_it() -> None:
    images = [Named(f"a{number}bcdefghijk", "Folder/X.jpg", "image/jpeg") for number in (1, 2, 3)]
    assert file_names(images) == ["X.jpg", "X-a2bcdefgh.jpg", "X-a3bcdefgh.jpg"]


def test_names_that_differ_in_case_or_suffix_only_are_told_apart() -> None:
    images = [
        Named("a1111111111", "x.jpg", "image/jpeg"),
        Named("a2222222222", "X.jpg", "image/jpeg"),
        Named("a3333333333", "x.png", "image/png"),
    ]
    assert file_names(images) == ["x.jpg", "X-a22222222.jpg", "x-a33333333.png"]


def test_what_follows_the_last_dot_of_an_unknown_format_is_no_part_of_the_stem() -> None:
    images = [
        Named("a1111111111", "0", "image/jpeg"),
        Named("a2222222222", "0.0", "?"),
        Named("a3333333333", "0.1", "?"),
        Named("a4444444444", "0.0", "image/jpeg"),
    ]
    assert file_names(images) == ["0.jpg", "0-a22222222.0", "0-a33333333.1", "0.0.jpg"]


@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from(["image/jpeg", "image/png", "?"])), max_size=30))
def test_stems_are_unique_and_safe_whatever_the_display_names(drawn: list[tuple[str, str]]) -> None:
    images = [Named(f"a{number}", name, media_type) for number, (name, media_type) in enumerate(drawn)]
    names = file_names(images)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
    assert len({PurePosixPath(name).stem.lower() for name in names}) == len(images)
