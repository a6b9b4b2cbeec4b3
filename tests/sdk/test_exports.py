"""An export holds all of a version, complete, and touches nothing else of its folder."""

import asyncio
import threading
from pathlib import Path

import pytest

from bloomery import DatasetVersion, errors
from bloomery._export import export
from bloomery._session import Session
from bloomery.common.v1 import Artifact
from bloomery.dataset import v1 as dataset
from tests.sdk.blobs import DROP, Blobs, digest_of
from tests.sdk.conftest import Run
from tests.sdk.exports import IMAGES, VERSION, files, zipped
from tests.sdk.fake import Fake


def test_an_export_holds_labels_and_images(fake: Fake, version: DatasetVersion, tmp_path: Path) -> None:
    version.export("yolo", tmp_path / "out")
    assert files(tmp_path / "out") == {
        "data.yaml": b"names: [rbc]",
        "labels/train/a.txt": b"0 1 1 1 1",
        **{f"images/{name}": content for name, content in IMAGES.items()},
    }
    assert fake.calls["ExportDatasetVersion"][0].format == dataset.EXPORT_FORMAT_YOLO
    assert all(call.sign_downloads for call in fake.calls["ListDatasetItems"])


def test_images_that_are_there_do_not_travel_again(version: DatasetVersion, blobs: Blobs, tmp_path: Path) -> None:
    version.export("coco", tmp_path)
    (tmp_path / "images/train/a.jpg").write_bytes(b"damaged")
    blobs.log.clear()
    version.export("coco", tmp_path)
    assert len(blobs.log) == 1 + 1
    assert (tmp_path / "images/train/a.jpg").read_bytes() == b"image a"


def test_an_export_into_files_of_another_is_refused_and_writes_nothing(version: DatasetVersion, tmp_path: Path) -> None:
    version.export("yolo", tmp_path)
    (tmp_path / "images/train/.b.jpg.0123.part").write_bytes(b"of a download that broke off")
    (tmp_path / "labels/train.cache").write_bytes(b"of a training")
    (tmp_path / "images/train/.ipynb_checkpoints").mkdir()
    (tmp_path / "images/train/.ipynb_checkpoints/a-checkpoint.jpg").write_bytes(b"of a notebook")
    version.export("yolo", tmp_path)
    (tmp_path / "images/val").mkdir()
    (tmp_path / "images/train/b.jpg").rename(tmp_path / "images/val/b.jpg")
    with pytest.raises(errors.FailedPrecondition, match=r"images/val/b\.jpg") as caught:
        version.export("yolo", tmp_path)
    assert caught.value.reason == "FOLDER_NOT_EMPTY"
    assert str(tmp_path) in caught.value.message
    assert "empty folder" in caught.value.hint
    assert not (tmp_path / "images/train/b.jpg").exists()


def relabelled(fake: Fake, blobs: Blobs) -> None:
    """Let the label files be others than those of the exports before."""
    digest = blobs.keep(zipped({"data.yaml": b"names: [wbc]", "labels/train/a.txt": b"0 2 2 2 2"}))
    exported = dataset.ExportDatasetVersionResponse(archive=Artifact(digest=digest), download=blobs.signed(digest))
    fake.answer("ExportDatasetVersion", exported)


def test_a_hard_linked_copy_of_an_earlier_export_stays_as_it_was(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    version.export("yolo", tmp_path / "out")
    before = files(tmp_path / "out")
    for name in before:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).hardlink_to(tmp_path / "out" / name)
    (tmp_path / "out/images/train/a.jpg").unlink()
    relabelled(fake, blobs)
    version.export("yolo", tmp_path / "out")
    assert files(tmp_path / "out")["data.yaml"] == b"names: [wbc]"
    assert files(tmp_path / "copy") == before


def test_an_export_through_a_link_is_refused_and_writes_nothing(version: DatasetVersion, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/yaml").write_bytes(b"precious")
    for name, target in (("images", "mine"), ("data.yaml", "mine/yaml"), ("labels", "nothing")):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        (out / name).symlink_to(tmp_path / target)
        with pytest.raises(errors.FailedPrecondition, match=f"links.*: {name}$") as caught:
            version.export("yolo", out)
        assert caught.value.reason == "FOLDER_NOT_EMPTY"
        assert [path.name for path in out.iterdir()] == [name]
    assert files(tmp_path / "mine") == {"yaml": b"precious"}
    # What is written to may be a link itself.
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "there").mkdir()
    version.export("yolo", tmp_path / "link")
    version.export("yolo", tmp_path / "link")
    assert len(files(tmp_path / "there")) == 5


@pytest.mark.parametrize("name", ["images/train/b.jpg", "labels/train/a.txt"])
def test_a_folder_where_a_file_belongs_is_refused_and_writes_nothing(
    version: DatasetVersion, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(errors.FailedPrecondition, match=name) as caught:
        version.export("yolo", tmp_path)
    assert caught.value.reason == "FOLDER_NOT_EMPTY"
    assert not files(tmp_path)


def test_a_server_that_leaves_with_the_last_image_costs_no_export(
    run: Run, fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    assert version.name == VERSION

    class Leaving(dict[str, bytes]):
        def get(self, digest: str, _default: object = None) -> bytes | None:  # type: ignore[override]
            if digest == digest_of(b"image c"):
                fake.answers.pop("ExportDatasetVersion", None)
            return self[digest]

    blobs.held = Leaving(blobs.held)
    exported = run(f"export {VERSION} --to", str(tmp_path / "out"))
    assert (exported.exit_code, exported.stdout.strip()) == (0, str(tmp_path / "out"))
    assert "ExportDatasetVersion" not in fake.answers


def test_the_command_asks_for_label_files_once_and_tells_their_losses(
    run: Run, fake: Fake, version: DatasetVersion, tmp_path: Path
) -> None:
    assert version.name == VERSION
    answered = fake.answers["ExportDatasetVersion"]
    assert isinstance(answered, dataset.ExportDatasetVersionResponse)
    answered.losses["crowd left out"] = 3
    result = run(f"export {VERSION} --to", str(tmp_path / "out"))
    assert (result.exit_code, len(fake.calls["ExportDatasetVersion"])) == (0, 1)
    assert "crowd left out: 3" in result.stderr


async def test_an_export_that_fails_leaves_nothing_running(
    fake: Fake, session: Session, version: DatasetVersion, tmp_path: Path
) -> None:
    release = threading.Event()
    digest = digest_of(b"image a")

    def listed(request: dataset.ListDatasetItemsRequest) -> dataset.ListDatasetItemsResponse:
        if request.page_token:
            release.wait(10)
            return dataset.ListDatasetItemsResponse()
        other = dataset.DatasetItem(split="train", file_name="a.jpg", digest=digest, content=b"something else")
        return dataset.ListDatasetItemsResponse(items=[other], next_page_token="2", total_size=2)

    fake.answer("ListDatasetItems", listed)
    before = asyncio.all_tasks()
    with pytest.raises(errors.DigestMismatch):
        await export(session, version.name, dataset.EXPORT_FORMAT_YOLO, tmp_path, lambda _: None)
    left = asyncio.all_tasks() - before
    release.set()
    assert not left


def test_an_export_to_a_file_says_that_it_is_one(version: DatasetVersion, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(errors.InvalidArgument, match="out is a file"):
        version.export("yolo", tmp_path / "out")


def test_a_flaky_object_store_is_tried_again(version: DatasetVersion, blobs: Blobs, tmp_path: Path) -> None:
    blobs.faults += [503, DROP, 502]
    version.export("yolo", tmp_path)
    assert len(files(tmp_path)) == 5


def test_other_bytes_than_promised_are_refused(version: DatasetVersion, blobs: Blobs, tmp_path: Path) -> None:
    damaged = next(key for key, content in blobs.held.items() if content == b"image a")
    blobs.held[damaged] = b"something else"
    with pytest.raises(errors.DigestMismatch, match=r"a\.jpg"):
        version.export("yolo", tmp_path)
    assert not (tmp_path / "images/train/a.jpg").exists()
    assert not list(tmp_path.rglob("*.part"))


def test_a_table_of_the_archive_says_where_images_belong(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    lines = ("image,split,file_name", "train/RBC/a.jpg,train,a.jpg", "train/WBC/b.jpg,train,b.jpg")
    table = "\n".join([*lines, "test/RBC/c.jpg,test,c.jpg"])
    digest = blobs.keep(zipped({"images.csv": table.encode(), "test/WBC/": b""}))
    exported = dataset.ExportDatasetVersionResponse(archive=Artifact(digest=digest), download=blobs.signed(digest))
    fake.answer("ExportDatasetVersion", exported)
    for _ in range(2):
        version.export("imagefolder", tmp_path / "out")
    assert files(tmp_path / "out") == {
        "images.csv": table.encode(),
        "train/RBC/a.jpg": IMAGES["train/a.jpg"],
        "train/WBC/b.jpg": IMAGES["train/b.jpg"],
        "test/RBC/c.jpg": IMAGES["test/c.jpg"],
    }
    assert (tmp_path / "out/test/WBC").is_dir()
