"""What is read: which format a folder is of, and archives instead of folders."""

import io
import zipfile

import pytest

from bloomery_vision.formats import Format, FormatError, MappingSource, ZipLimits, ZipSource, detect, read
from tests.vision.folders import GOOD_OBJECT, Files, annotation, coco, voc


class TestDetection:
    def test_what_is_no_annotated_set_is_refused_with_the_layouts(self, picture: bytes) -> None:
        with pytest.raises(FormatError) as caught:
            detect(MappingSource({"holiday/a.png": picture, "x.json": b'{"a": 1}'}))
        assert caught.value.code == "UNKNOWN_FORMAT"
        assert "Pascal VOC" in caught.value.hint
        assert "`images`" in caught.value.hint

    def test_images_alone_are_a_set_without_labels(self, picture: bytes) -> None:
        source = MappingSource({"holiday/a.png": picture, "train/b.png": picture, "README.md": b"", "notes.txt": b""})
        assert detect(source).format is Format.IMAGES
        items = list(read(source, Format.IMAGES))
        assert [(item.image_path, item.split) for item in items] == [("holiday/a.png", None), ("train/b.png", "train")]
        assert not any(item.annotated or item.failed for item in items)

    def test_files_without_an_image_are_no_set_of_images(self) -> None:
        with pytest.raises(FormatError, match="beside 0 images"):
            detect(MappingSource({"notes.txt": b"nice"}))

    def test_files_of_two_formats_are_refused_with_both(self, picture: bytes) -> None:
        files = {"a.png": picture, "a.xml": voc(GOOD_OBJECT), "i.json": coco(annotation())}
        with pytest.raises(FormatError, match=r"voc: .*coco: ") as caught:
            detect(MappingSource(files))
        assert caught.value.code == "AMBIGUOUS_FORMAT"

    def test_the_guess_names_all_files_that_matter(self, picture: bytes) -> None:
        files = {
            "JPEGImages/a.png": picture,
            "Annotations/a.xml": voc(),
            "ImageSets/Main/train.txt": b"a",
            "README": b"",
        }
        guess = detect(MappingSource(files))
        assert guess.format is Format.VOC
        assert set(guess.annotations) == {"Annotations/a.xml", "ImageSets/Main/train.txt"}


def zipped(files: Files) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream


class TestArchives:
    def test_an_archive_reads_like_its_folder(self, picture: bytes) -> None:
        files = {"set/Annotations/a.xml": voc(GOOD_OBJECT), "set/JPEGImages/a.png": picture}
        archive = ZipSource(zipped(files | {"set/.hidden": b"", "__MACOSX/set/a.png": b""}))
        assert archive.names() == sorted(files)
        assert list(read(archive, Format.VOC)) == list(read(MappingSource(files), Format.VOC))

    def test_a_bomb_is_refused(self) -> None:
        with pytest.raises(FormatError) as caught:
            ZipSource(zipped({"a.json": bytes(50 << 20)}))
        assert caught.value.code == "ZIP_LIMIT"

    @pytest.mark.parametrize("limits", [ZipLimits(entries=1), ZipLimits(total_size=5), ZipLimits(entry_size=3)])
    def test_limits_hold(self, limits: ZipLimits) -> None:
        with pytest.raises(FormatError):
            ZipSource(zipped({"a.json": b"1234", "b.json": b"1234"}), limits=limits)

    def test_what_is_no_archive_is_refused(self) -> None:
        with pytest.raises(FormatError) as caught:
            ZipSource(io.BytesIO(b"PK nothing"))
        assert caught.value.code == "NOT_A_ZIP"

    def test_names_that_leave_the_archive_stay_names(self, picture: bytes) -> None:
        source = ZipSource(zipped({"../../a.png": picture, "/etc/b.png": picture, "c.png": picture}))
        assert source.names() == ["c.png"]
