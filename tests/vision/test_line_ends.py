"""How the lines of a text file end says nothing: each import reads the same, be it written on Windows or an old Mac."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery_vision.formats import ImportItem, MappingSource
from bloomery_vision.formats.other_formats import name_of_format
from tests.vision.folders import Files, plan_of, read_folder, voc, voc_object

LABELS = b"0 0.2 0.2 0.1 0.1\n1 0.7 0.7 0.2 0.2\n\n0 0.5 0.4 0.1 0.3\n1 x\n"
LIST = b"images/1.png\n2.png\n"
COCO = {
    "images": [{"id": 1, "file_name": "1.png", "width": 100, "height": 80}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40]}],
    "categories": [{"id": 3, "name": "cat"}],
}
TEXTS: dict[str, dict[str, bytes]] = {
    "classes": {"classes.txt": b"cat\n\ndog\n", "train.txt": LIST, "val.txt": b"3.png\n"},
    "numbered": {"classes.txt": b"0 cat\n1 dog\n"},
    "a configuration": {"data.yaml": b"# a set\nnames:\n  0: cat\n  1: dog\ntrain: t.txt\n", "t.txt": LIST},
    "Darknet": {
        "obj.data": b"classes = 2\nnames = obj.names\ntrain = t.txt\n",
        "obj.names": b"cat\ndog\n",
        "t.txt": LIST,
    },
    "CVAT": {"labelmap.txt": b"# label:color\ncat:1,2,3::\ndog:4,5,6::\n"},
}
FOLDERS: dict[str, dict[str, bytes]] = {
    **{title: texts | {f"labels/{one}.txt": LABELS for one in (1, 2, 3)} for title, texts in TEXTS.items()},
    "VOC": {
        "Annotations/1.xml": voc(voc_object(1, 1, 9, 9)).replace(b"><", b">\n<"),
        "ImageSets/Main/train.txt": b"1\n3 -1\n",
    },
    "COCO": {"instances.json": json.dumps(COCO, indent=1).encode()},
}
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n", b"\r\r\n"])


@pytest.fixture(scope="module")
def folder(picture: bytes) -> Callable[[Files], Files]:
    return lambda texts: {f"images/{one}.png": picture for one in (1, 2, 3)} | dict(texts)


def ended(text: bytes, ends: list[bytes]) -> bytes:
    """The text with these ends of its lines, in turn."""
    lines = text.split(b"\n")
    return b"".join(line + ends[at % len(ends)] for at, line in enumerate(lines[:-1])) + lines[-1]


def told(files: Files) -> tuple[dict[str, ImportItem], object]:
    plan = plan_of(files)
    return read_folder(files), (plan.format, plan.splits, plan.labels, plan.class_lists, plan.doubts, plan.left)


class TestLineEnds:
    @pytest.mark.parametrize("title", FOLDERS)
    @pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\r\r\n"])
    def test_do_not_change_what_is_read(self, folder: Callable[[Files], Files], title: str, end: bytes) -> None:
        texts = FOLDERS[title]
        assert told(folder({name: ended(text, [end]) for name, text in texts.items()})) == told(folder(texts))

    @given(title=st.sampled_from(sorted(TEXTS)), ends=st.lists(ENDS, min_size=1, max_size=5))
    def test_may_be_mixed(self, folder: Callable[[Files], Files], title: str, ends: list[bytes]) -> None:
        # An empty line between "\r" and "\n" would be none.
        texts = {name: text.replace(b"\n\n", b"\n") for name, text in FOLDERS[title].items()}
        assert told(folder({name: ended(text, ends) for name, text in texts.items()})) == told(folder(texts))

    def test_in_utf_16(self, folder: Callable[[Files], Files]) -> None:
        texts = FOLDERS["classes"]
        other = {name: ended(text, [b"\r"]).decode().encode("utf-16") for name, text in texts.items()}
        assert told(folder(other)) == told(folder(texts))

    @pytest.mark.parametrize("end", [b"\r", b"\r\n"])
    def test_do_not_hide_what_is_not_read(self, end: bytes) -> None:
        kitti = b"Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
        source = MappingSource({"1.txt": end.join([b"made today", kitti, kitti])})
        assert name_of_format(source, "1.txt") == "KITTI"
