"""Images that come as ZIP files are predicted on under their paths; archives that cannot be used are refused whole."""

import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import Job
from bloomery.vision.v1 import TaskType
from bloomery_vision.manifest import ManifestRow
from bloomery_worker.archives import unpack
from bloomery_worker.cache import BlobCache
from bloomery_worker.dataset import Dataset
from bloomery_worker.failures import DataError
from tests.worker.fake_trainer import FakeTrainer
from tests.worker.harness import attempt, job, recipe, trainer_for
from tests.worker.sample_data import Version, digest


def archive(members: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return made.getvalue()


async def unpacked(folder: Path, *archives: bytes) -> tuple[list[ManifestRow], Dataset, list[tuple[int, int]]]:
    """The images that a job sees, what it sees them in, and what was told on the way."""
    files = []
    for number, content in enumerate(archives, 1):
        path = folder / f"{number}"
        path.write_bytes(content)
        files.append((f"{number}.zip", path))
    cache, told = BlobCache(folder / "cache"), list[tuple[int, int]]()
    task = TaskType.TASK_TYPE_DETECT
    with closing(cache):
        index = await unpack(files, cache, Job(), task, folder, lambda done, total: told.append((done, total)))
    dataset = Dataset.open(index, cache)
    return list(dataset.rows()), dataset, told


@pytest.fixture(scope="session")
def images(cells: Version) -> list[bytes]:
    return [content for key, content in sorted(cells.blobs.items()) if "/datasets/" not in key]


async def test_images_are_listed_by_their_paths_in_the_order_of_the_archives(
    images: list[bytes], tmp_path: Path
) -> None:
    first = archive({"b/2.jpg": images[0], "folder/": b"", "a.jpg": images[1]})
    rows, dataset, told = await unpacked(tmp_path, first, archive({"b/1.jpg": images[0], "no.jpg": b"text"}))
    assert [row.file_name for row in rows] == ["b/2.jpg", "a.jpg", "b/1.jpg", "no.jpg"]
    assert [dataset.image_file(row).read_bytes() for row in rows] == [images[0], images[1], images[0], b"text"]
    assert [(row.width, row.height) for row in rows] == [(640, 480)] * 3 + [(0, 0)]
    assert told == [(4, 4)]
    assert not list((tmp_path / "cache").rglob("*.part"))


async def test_all_that_is_wrong_with_archives_is_told_at_once(images: list[bytes], tmp_path: Path) -> None:
    good, packed = archive({"a.jpg": images[0]}), archive({"packed.jpg": images[0]}, zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError) as refused:
        await unpacked(tmp_path, good, packed, good, b"no archive")
    told = str(refused.value)
    assert all(
        name in told for name in ("packed.jpg: is compressed", "4.zip is no ZIP file", "a.jpg: is there 2 times")
    )


@pytest.mark.parametrize("name", ["../up.jpg", "/root.jpg", "a/./b.jpg", "a//b.jpg"])
async def test_a_member_that_has_no_path_in_a_folder_is_refused(images: list[bytes], tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="is no relative path"):
        await unpacked(tmp_path, archive({name: images[0]}))


async def test_an_archive_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no member"):
        await unpacked(tmp_path, archive({}))


async def test_a_member_whose_bytes_are_damaged_is_named(images: list[bytes], tmp_path: Path) -> None:
    content = archive({"a.jpg": images[0]})
    with pytest.raises(DataError, match=r"a\.jpg"):
        await unpacked(tmp_path, content.replace(images[0], images[0][:-1] + b"?"))


@pytest.mark.real_training
@pytest.mark.timeout(300)
async def test_a_job_predicts_on_the_images_of_archives(
    detector: FakeTrainer, cells: Version, images: list[bytes], tmp_path: Path
) -> None:
    wanted = job("yolo-detect", "PREDICT", threshold=0.0)
    wanted.dataset_version = ""
    contents = [archive({f"{n}/one.jpg": image}) for n, image in enumerate(images[:3])] + [archive({"no.jpg": b"no"})]
    for number, content in enumerate(contents):
        file = Artifact(digest=digest(content), size_bytes=len(content), logical_key=f"p0/{number}.zip")
        wanted.folder_images.archives.append(file)
    trainer = trainer_for(wanted, recipe("yolo-detect"), cells)
    trainer.manifest, trainer.base = None, detector.kept["checkpoint"]
    blobs = {f"p0/{number}.zip": content for number, content in enumerate(contents)}
    await attempt(trainer, {**blobs, trainer.base.logical_key: detector.content("checkpoint")}, tmp_path)
    assert trainer.finished is not None
    details = MessageToDict(trainer.finished.success.details)
    assert details["folder"] == {"archives": [digest(content) for content in contents]}
    assert (details["predicted"], details["failed"]) == (3, {"NOT_AN_IMAGE": 1})
    lines = [json.loads(text) for text in trainer.content("predictions").decode().splitlines()]
    assert [one["file_name"] for one in lines] == ["0/one.jpg", "1/one.jpg", "2/one.jpg", "no.jpg"]
    assert all(one["shapes"] and one["digest"] == digest(image) for one, image in zip(lines[:3], images, strict=False))
    assert "unpacking" in trainer.phases or "predicting" in trainer.phases
