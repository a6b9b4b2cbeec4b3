"""Images of a folder that are not the project's are brought for a job as archives."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from bloomery import AsyncClient, Client, _folder_images
from bloomery.errors import InvalidArgument, NotFound, ResourceExhausted
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.blobs import Blobs
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake
from tests.sdk.test_applied import inputs

__all__ = ["inputs"]

IMAGES = {"a.jpg": b"one", "b/a.jpg": b"two", "b/c.PNG": b"three"}


@pytest.fixture(autouse=True)
def settled(fake: Fake) -> None:
    world.settle(fake)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three images and what is none."""
    for name, content in {**IMAGES, "labels.txt": b"0", "note.md": b"", ".hidden/x.jpg": b"", ".y.jpg": b""}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "photos"


def brought(inputs: Blobs, job: training.Job) -> list[dict[str, bytes]]:
    """What is in the archives of a job, in their order."""
    found = []
    for one in job.folder_images.archives:
        with zipfile.ZipFile(io.BytesIO(inputs.held[one.digest])) as archive:
            assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
            found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def test_the_images_of_a_folder_come_with_the_job(fake: Fake, client: Client, inputs: Blobs, folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    model = client.model_version("cells-v@1")
    model.predict_folder(folder, threshold=0.5, progress=lambda step: told.append((step.phase, step.done, step.total)))
    [request] = fake.calls["CreateJob"]
    job = request.job
    assert (job.kind, job.dataset_version, job.suggest) == (training.JOB_KIND_PREDICT, "", False)
    assert dict(job.parameters) == {"threshold": 0.5}
    assert brought(inputs, job) == [IMAGES]
    assert told == [("uploading", 3, 3)]


async def test_they_do_so_too_where_nobody_waits(fake: Fake, aclient: AsyncClient, inputs: Blobs, folder: Path) -> None:
    version = await aclient.model_version("cells-v@1")
    await version.predict_folder(folder)
    assert brought(inputs, fake.calls["CreateJob"][0].job) == [IMAGES]


def test_what_was_brought_before_does_not_travel_again(
    fake: Fake, client: Client, inputs: Blobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_folder_images, "ARCHIVE_BYTES", 4)
    model = client.model_version("cells-v@1")
    fake.queue("CreateJob", served.ResourceExhausted("DISK_LOW", "free space"))
    with pytest.raises(ResourceExhausted):
        model.predict_folder(folder)
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    model.predict_folder(folder)
    assert brought(inputs, fake.calls["CreateJob"][0].job) == [
        {"a.jpg": b"one", "b/a.jpg": b"two"},
        {"b/c.PNG": b"three"},
    ]
    assert [method for method, _ in inputs.log] == ["PUT", "PUT"]


def test_a_large_folder_has_no_more_archives_than_a_job_takes(
    fake: Fake, client: Client, inputs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_folder_images, "ARCHIVE_BYTES", 1)
    monkeypatch.setattr(_folder_images, "_MOST", 3)
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(b"..")
    client.model_version("cells-v@1").predict_folder(tmp_path)
    found = brought(inputs, fake.calls["CreateJob"][0].job)
    assert [len(one) for one in found] == [4, 3]


def test_a_folder_without_images_is_told_before_anything_is_sent(fake: Fake, client: Client, tmp_path: Path) -> None:
    model = client.model_version("cells-v@1")
    (tmp_path / "a.txt").write_text("0")
    with pytest.raises(InvalidArgument, match="has no images"):
        model.predict_folder(tmp_path)
    with pytest.raises(NotFound):
        model.predict_folder(tmp_path / "none")
    assert "PrepareInputUpload" not in fake.calls


def test_a_name_that_cannot_be_sent_is_told_instead_of_left_out(
    fake: Fake, client: Client, inputs: Blobs, folder: Path
) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.jpg")).write_bytes(b"x")
    with pytest.raises(InvalidArgument, match="1 names that are not UTF-8"):
        client.model_version("cells-v@1").predict_folder(folder)
    assert not inputs.held


def test_a_zip_of_a_folder_is_taken_as_the_folder(fake: Fake, client: Client, inputs: Blobs, folder: Path) -> None:
    packed = folder.parent / "photos.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in IMAGES.items():
            archive.writestr(name, content)
    client.model_version("cells-v@1").predict_folder(packed)
    assert brought(inputs, fake.calls["CreateJob"][0].job) == [IMAGES]


def test_the_command_takes_a_folder_and_suggests_nothing_on_it(
    fake: Fake, run: Run, inputs: Blobs, folder: Path
) -> None:
    result = run("predict-batch cells-v@1 --folder", str(folder))
    assert result.exit_code == 0, result.output
    assert brought(inputs, fake.calls["CreateJob"][0].job) == [IMAGES]
    refused = run("predict-batch cells-v@1 --suggest --folder", str(folder))
    assert refused.exit_code == 2
    assert "bloomery import" in refused.output
    for line in ("--on cells-v@1", "--assets all", "--split val"):
        assert run(f"predict-batch cells-v@1 {line} --folder", str(folder)).exit_code == 2
