"""A file that is written is there whole, or not at all, and leaves nothing beside it."""

import resource
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from bloomery._archive import _extract
from bloomery._files import replacing, write_whole


@pytest.fixture
def small_files() -> Iterator[None]:
    """The system takes the first 1000 bytes of a file and refuses the rest, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_breaks_off_leaves_what_was_there(tmp_path: Path, small_files: None) -> None:
    (tmp_path / "a.jpg").write_bytes(b"whole")
    with pytest.raises(OSError, match="too large"):
        write_whole(tmp_path / "a.jpg", bytes(1500))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.jpg", b"whole")]


def test_a_file_without_a_folder_is_written_to_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_whole(Path("a.jpg"), b"image")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.jpg", b"image")]


def written_by_parts(path: Path, content: bytes) -> None:
    with replacing(path) as part:
        part.write_bytes(content)


@pytest.mark.parametrize("write", [write_whole, written_by_parts])
@pytest.mark.parametrize("name", ["nowhere/a.jpg", "folder"])
def test_what_cannot_be_written_is_named_as_it_was_to_be_called(
    tmp_path: Path, name: str, write: Callable[[Path, bytes], None]
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=f"'{tmp_path / name}'$") as told:
        write(tmp_path / name, b"image")
    assert ".part" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_a_name_as_long_as_any_may_be_is_no_hindrance(tmp_path: Path, size: int) -> None:
    name = f"images/{'n' * 251}.jpg"
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    _extract(tmp_path / "a.zip", tmp_path / "folder", Event())
    written = [path for path in (tmp_path / "folder").rglob("*") if path.is_file()]
    assert written == [tmp_path / "folder" / name]


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_small_and_large_files_of_a_zip_are_the_same_afterwards(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with zipfile.ZipFile(tmp_path / "labels.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/a.json", content)
    _extract(tmp_path / "labels.zip", tmp_path / "out", Event())
    assert [(path.name, path.read_bytes() == content) for path in (tmp_path / "out/annotations").iterdir()] == [
        ("a.json", True)
    ]
