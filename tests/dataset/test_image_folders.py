"""Versions for classification as folders of classes."""

import csv
import io
from pathlib import Path

import pytest

from bloomery.dataset.v1 import DatasetSpec, ExportDatasetVersionRequest, ExportFormat, SplitPolicy
from bloomery.vision.v1 import TaskType
from bloomery_dataset.folders import Folders
from bloomery_kit.errors import error_info
from bloomery_vision.formats.export import Notes
from bloomery_vision.geometry import Shape, Tag
from bloomery_vision.manifest import ManifestRow
from tests.dataset.annotations import FakeAnnotations
from tests.dataset.helpers import Service, box, failure, listed
from tests.dataset.test_exports import export

FOLDERS = ExportFormat.EXPORT_FORMAT_IMAGEFOLDER
OFFICIAL = SplitPolicy(method=SplitPolicy.METHOD_OFFICIAL)


def places(table: bytes) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["split"], row["file_name"]): row for row in csv.DictReader(io.StringIO(table.decode()))}


async def test_a_classification_exports_as_folders_of_its_classes(
    service: Service, fake: FakeAnnotations, tmp_path: Path
) -> None:
    fake.add(1, [Shape(Tag(), "rbc")], split="train", name="cam1/a.jpg")
    fake.add(2, [Shape(Tag(), "wbc", attributes={"score": "0.5"})], split="train")
    fake.add(3, [Shape(Tag(), "rbc")], split="val")
    version = await service.build(DatasetSpec(task=TaskType.TASK_TYPE_CLASSIFY, split=OFFICIAL))
    files = await export(service, version.name, FOLDERS, tmp_path / "blobs")
    # Trainers number the classes of each split by its folders.
    assert {name for name in files if name.endswith("/")} == {
        "train/Platelets/", "val/Platelets/", "val/WBC/"
    }  # fmt: skip
    found = places(files["images.csv"])
    assert found.keys() == {(item.split, item.file_name) for item in (await listed(service, version.name))[0]}
    assert {row["image"] for row in found.values()} == {
        "train/RBC/cam1-a.jpg", "train/WBC/0002.jpg", "val/RBC/0003.jpg"
    }  # fmt: skip
    answer = await service.stub.ExportDatasetVersion(ExportDatasetVersionRequest(name=version.name, format=FOLDERS))
    assert dict(answer.losses) == {"attributes left out": 1}


async def test_only_a_classification_has_folders_of_classes(service: Service, fake: FakeAnnotations) -> None:
    fake.add(1, [box()])
    version = await service.build()
    status = await failure(
        service.stub.ExportDatasetVersion(ExportDatasetVersionRequest(name=version.name, format=FOLDERS))
    )
    assert error_info(status).reason == "NO_CLASS_FOLDERS"


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (("RBC", "rbc", "Rbc"), ("RBC", "rbc-2", "Rbc-3")),
        (("a/b", "a_b", "..\\x"), ("a_b", "a_b-2", "_._x")),
        (("con", "images", "x.jpg", " . ", "a:b"), ("con_", "images_", "x.jpg_", "class_3", "a_b")),
        (("рыба", "é", "e\u0301"), ("рыба", "é", "e\u0301-2")),
    ],
)
def test_every_class_has_a_folder_of_its_own_on_every_file_system(
    classes: tuple[str, ...], folders: tuple[str, ...]
) -> None:
    rows = [_row(f"{number}.jpg", name) for number, name in enumerate(classes)]
    notes = Notes()
    found = places(b"".join(Folders(classes).lines(rows, notes)))
    assert [row["image"] for row in found.values()] == [
        f"train/{folder}/{number}.jpg" for number, folder in enumerate(folders)
    ]
    assert [row["class"] for row in found.values()] == list(classes)
    assert notes["class called otherwise"] == sum(a != b for a, b in zip(classes, folders, strict=True))


def test_names_stay_unique_where_folders_become_part_of_them() -> None:
    rows = [_row(name, "a") for name in ("cam/1.jpg", "cam-1.jpg", "CAM-1.png", "x/y/2.jpg")]
    found = places(b"".join(Folders(("a",)).lines(rows, Notes())))
    assert [row["image"] for row in found.values()] == [
        "train/a/cam-1.jpg", "train/a/cam-1-2.jpg", "train/a/CAM-1-3.png", "train/a/x-y-2.jpg"
    ]  # fmt: skip


def test_folders_that_become_part_of_a_name_leave_it_one_that_file_systems_take() -> None:
    folders = f"{'д' * 70}/{'p' * 10}"
    rows = [_row(f"{folders}/{'é' * 80}{end}.jpg", "a") for end in ("", "1", "2")]
    names = [row["image"] for row in places(b"".join(Folders(("a",)).lines(rows, Notes()))).values()]
    assert len(set(names)) == 3
    assert [name.rpartition("/")[2].encode()[180:] for name in names] == [b".jpg", b"-2.jpg", b"-3.jpg"]


def _row(file_name: str, label: str) -> ManifestRow:
    return ManifestRow(
        asset="a",
        digest="sha256:0",
        logical_key="k",
        size_bytes=1,
        media_type="image/jpeg",
        width=9,
        height=9,
        split="train",
        group="",
        file_name=file_name,
        shapes=(Shape(Tag(), label),),
    )
