"""What is read: which format a folder is of, and archives instead of folders."""

import io
import zipfile

import pytest

from bloomery_vision.formats import Format, FormatError, Left, MappingSource, ZipLimits, ZipSource, read, understand
from tests.vision.folders import GOOD_OBJECT, Files, annotation, coco, doubts, plan_of, voc

LABELME = b'{"version": "5.1", "flags": {}, "shapes": [], "imagePath": "a.png"}'


class TestTheFormat:
    def test_labels_in_a_format_that_is_not_read_are_refused_with_the_layouts(self, picture: bytes) -> None:
        (stop,) = plan_of({"holiday/a.png": picture, "holiday/a.json": LABELME}).stops
        assert stop.code == "UNKNOWN_FORMAT"
        assert "LabelMe" in stop.message
        assert "Pascal VOC" in stop.hint
        assert "`images`" in stop.hint

    def test_images_alone_are_a_set_without_labels(self, picture: bytes) -> None:
        files = {"holiday/a.png": picture, "train/b.png": picture, "README.md": b"", "notes.txt": b"nice"}
        plan = plan_of(files)
        assert (plan.format, plan.stops, doubts(plan)) == (Format.IMAGES, (), {"NO_LABELS": 2, "NO_SPLIT": 1})
        items = list(read(MappingSource(files), plan))
        assert [(item.image_path, item.split) for item in items] == [("holiday/a.png", None), ("train/b.png", "train")]
        assert not any(item.annotated or item.failed for item in items)

    def test_images_without_labels_that_were_asked_for_are_no_doubt(self, picture: bytes) -> None:
        plan = plan_of({"a.png": picture, "a.json": LABELME}, Format.IMAGES)
        assert (plan.format, plan.stops, doubts(plan)) == (Format.IMAGES, (), {})
        assert plan.left == {"a.json": Left.OTHER_FORMAT}
        assert doubts(plan_of({"a.png": picture}, Format.VOC)) == {"NO_LABELS": 1}

    def test_files_without_an_image_are_no_set_of_images(self) -> None:
        with pytest.raises(FormatError, match="beside 0 images"):
            read(MappingSource({"notes.txt": b"nice"}), plan_of({"notes.txt": b"nice"}))

    def test_files_of_two_formats_are_refused_with_both(self, picture: bytes) -> None:
        files = {"a.png": picture, "a.xml": voc(GOOD_OBJECT), "i.json": coco(annotation())}
        (stop,) = plan_of(files).stops
        assert stop.code == "AMBIGUOUS_FORMAT"
        assert "voc: " in stop.message
        assert "coco: " in stop.message
        for chosen in (Format.VOC, Format.COCO, Format.IMAGES):
            assert not plan_of(files, chosen).stops

    def test_a_plan_accounts_for_all_files(self, picture: bytes) -> None:
        files = {
            "JPEGImages/a.png": picture,
            "Annotations/a.xml": voc(),
            "ImageSets/Main/train.txt": b"a",
            "README": b"",
        }
        plan = plan_of(files)
        assert plan.format is Format.VOC
        assert plan.label_files == ["Annotations/a.xml"]
        assert plan.lists == ["ImageSets/Main/train.txt"]
        assert plan.left == {"README": Left.OTHER}


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
        plan = understand(archive)
        assert plan == understand(MappingSource(files))
        assert list(read(archive, plan)) == list(read(MappingSource(files), plan))

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
