"""What is downloaded is what was promised, complete, and inside of the folder that the caller named."""

import asyncio
import io
import stat
import threading
import zipfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from bloomery import Client, DatasetVersion, errors
from bloomery._archive import extract, inside
from bloomery._concurrency import ahead
from bloomery._export import export
from bloomery._session import Session
from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Artifact
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from tests.sdk.blobs import DROP, Blobs, digest_of
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake, Hang, numbered

VERSION = "projects/cells/datasets/cells-v/versions/1"
IMAGES = {"train/a.jpg": b"image a", "train/b.jpg": b"image b", "test/c.jpg": b"image c"}


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def version(fake: Fake, client: Client, blobs: Blobs) -> DatasetVersion:
    digest = blobs.keep(zipped({"data.yaml": b"names: [rbc]", "labels/train/a.txt": b"0 1 1 1 1"}))
    exported = dataset.ExportDatasetVersionResponse(archive=Artifact(digest=digest), download=blobs.signed(digest))
    items = []
    for path, content in IMAGES.items():
        split, name = path.split("/")
        kept = blobs.keep(content)
        items.append(dataset.DatasetItem(split=split, file_name=name, digest=kept, download=blobs.signed(kept)))

    def listed(request: dataset.ListDatasetItemsRequest) -> dataset.ListDatasetItemsResponse:
        page, token = numbered(items, request)
        return dataset.ListDatasetItemsResponse(items=page, next_page_token=token, total_size=3)

    fake.answer("GetDatasetVersion", dataset.DatasetVersion(name=VERSION, state=dataset.DatasetVersion.STATE_READY))
    fake.answer("ExportDatasetVersion", exported)
    fake.answer("ListDatasetItems", listed)
    return client.dataset_version(VERSION)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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


def inlined(fake: Fake, contents: dict[str, bytes]) -> None:
    """Let the listing hold these bytes of an image, whatever it promises."""
    listed = fake.answers["ListDatasetItems"]
    assert callable(listed)

    def answered(request: dataset.ListDatasetItemsRequest) -> dataset.ListDatasetItemsResponse:
        page = listed(request)
        assert isinstance(page, dataset.ListDatasetItemsResponse)
        for item in page.items if request.inline_contents else ():
            item.content = contents.get(item.file_name, b"")
        return page

    fake.answer("ListDatasetItems", answered)


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


async def test_images_come_while_label_files_are_made_and_wait_until_they_are(
    fake: Fake, session: Session, version: DatasetVersion, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "b.jpg": b"image b", "c.jpg": b"image c"})
    listed, came, loop = fake.answers["ListDatasetItems"], asyncio.Event(), asyncio.get_running_loop()
    assert callable(listed)

    def noted(request: dataset.ListDatasetItemsRequest) -> Message:
        loop.call_soon_threadsafe(came.set)
        return listed(request)

    fake.answer("ListDatasetItems", noted)
    fake.queue("ExportDatasetVersion", Hang())
    before = asyncio.all_tasks()
    exporting = asyncio.create_task(
        export(session, version.name, dataset.EXPORT_FORMAT_YOLO, tmp_path / "out", lambda _: None)
    )
    async with asyncio.timeout(20):
        await came.wait()
        while not fake.calls["ExportDatasetVersion"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not (tmp_path / "out").exists()
    exporting.cancel()
    await asyncio.gather(exporting, return_exceptions=True)
    assert not (tmp_path / "out").exists()
    assert asyncio.all_tasks() == before


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


def test_small_images_come_with_their_listing(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "c.jpg": b"image c"})
    version.export("yolo", tmp_path / "out")
    assert {name: (tmp_path / "out/images" / name).read_bytes() for name in IMAGES} == IMAGES
    assert len(blobs.log) == 1 + 1
    # What is there already does not travel again.
    version.export("yolo", tmp_path / "out")
    assert [call.inline_contents for call in fake.calls["ListDatasetItems"]][-1] is False
    assert len(blobs.log) == 2 + 1


def test_a_repeat_that_lacks_many_images_gets_them_with_their_listing(
    fake: Fake, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    inlined(fake, {"a.jpg": b"image a", "b.jpg": b"image b", "c.jpg": b"image c"})
    version.export("yolo", tmp_path)
    whole = files(tmp_path)
    (tmp_path / "images/train/a.jpg").unlink()
    (tmp_path / "images/train/b.jpg").unlink()
    blobs.log.clear()
    fake.calls["ListDatasetItems"].clear()
    version.export("yolo", tmp_path)
    assert files(tmp_path) == whole
    asked = [(one.page_token, one.inline_contents) for one in fake.calls["ListDatasetItems"] if one.sign_downloads]
    # The second page is asked for as the first one was, though nothing of it is missing.
    assert asked == [("", False), ("", True), ("2", True)]
    assert len(blobs.log) == 1


def test_other_bytes_in_a_listing_are_refused(fake: Fake, version: DatasetVersion, tmp_path: Path) -> None:
    inlined(fake, {"a.jpg": b"something else"})
    with pytest.raises(errors.DigestMismatch, match=r"a\.jpg"):
        version.export("yolo", tmp_path)
    assert not (tmp_path / "images/train/a.jpg").exists()
    assert not list(tmp_path.rglob("*.part"))


async def test_no_download_is_signed_long_before_its_turn(
    fake: Fake, session: Session, version: DatasetVersion, blobs: Blobs, tmp_path: Path
) -> None:
    listed, first, go_on = fake.answers["ListDatasetItems"], threading.Event(), threading.Event()

    def one_by_one(request: dataset.ListDatasetItemsRequest) -> Message:
        assert callable(listed)
        start = int(request.page_token or 0)
        page = listed(dataset.ListDatasetItemsRequest(page_token=str(start)))
        assert isinstance(page, dataset.ListDatasetItemsResponse)
        del page.items[1:]
        page.next_page_token = str(start + 1) if start < 2 else ""
        return page

    class Gated(dict[str, bytes]):
        def get(self, digest: str, _default: object = None) -> bytes | None:  # type: ignore[override]
            if digest == digest_of(b"image a"):
                first.set()
                go_on.wait(20)
            return self[digest]

    fake.answer("ListDatasetItems", one_by_one)
    blobs.held = Gated(blobs.held)
    exporting = asyncio.create_task(
        export(session, version.name, dataset.EXPORT_FORMAT_YOLO, tmp_path / "out", lambda _: None)
    )
    await asyncio.to_thread(first.wait, 20)
    # Time enough to ask for the third page.
    await asyncio.sleep(0.2)
    asked = len(fake.calls["ListDatasetItems"])
    go_on.set()
    await exporting
    assert asked == 2
    assert len(fake.calls["ListDatasetItems"]) == 3


@pytest.mark.parametrize(("weight", "read"), [(1, 4), (2, 2), (4, 1)])
async def test_what_weighs_more_is_read_less_far_ahead(weight: int, read: int) -> None:
    asked: list[int] = []

    async def source() -> AsyncGenerator[int, None]:
        for number in range(9):
            asked.append(number)
            yield number

    async with ahead(source(), 4, lambda _: weight) as numbers:
        for taken in range(3):
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(asked) == read + taken
            assert await anext(numbers) == taken
        rest = [number async for number in numbers]
    assert rest == [3, 4, 5, 6, 7, 8]


async def test_what_was_read_ahead_is_closed_with_its_reader() -> None:
    async def source() -> AsyncGenerator[int, None]:
        while True:
            yield 1

    with pytest.raises(ZeroDivisionError):
        async with ahead(source(), 2) as numbers:
            await anext(numbers)
            raise ZeroDivisionError
    with pytest.raises(StopAsyncIteration):
        await anext(numbers)


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


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil", ""])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(errors.TransferFailed, match="outside"):
        inside(tmp_path, name)


@given(st.text(alphabet="ab./\\-", max_size=12))
def test_no_name_leaves_the_folder(name: str) -> None:
    root = Path("/root-of-export")
    try:
        path = inside(root, name)
    except errors.TransferFailed:
        return
    assert path.resolve().is_relative_to(root)


def test_an_archive_that_would_leave_the_folder_writes_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "labels.zip"
    archive.write_bytes(zipped({"good.txt": b"x", "../evil.txt": b"x"}))
    with pytest.raises(errors.TransferFailed):
        asyncio.run(extract(archive, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "evil.txt").exists()


def test_an_archive_with_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "labels.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(errors.TransferFailed, match="is a link"):
        asyncio.run(extract(tmp_path / "labels.zip", tmp_path / "out"))


def test_a_label_file_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    content = zipped({"data.yaml": b"names: [rbc]"}).replace(b"names: [rbc]", b"names: [rbd]")
    (tmp_path / "labels.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/data.yaml").write_bytes(b"whole")
    with pytest.raises(zipfile.BadZipFile):
        asyncio.run(extract(tmp_path / "labels.zip", tmp_path / "out"))
    assert files(tmp_path / "out") == {"data.yaml": b"whole"}


def test_a_model_is_downloaded_with_its_variants(fake: Fake, client: Client, blobs: Blobs, tmp_path: Path) -> None:
    name = "projects/cells/models/cells-v/versions/1"
    signed = []
    for variant, path, content in (("", "best.pt", b"weights"), ("onnx-fp32", "1/model.onnx", b"graph")):
        digest = blobs.keep(content)
        artifact = Artifact(digest=digest, file_name=path)
        signed.append(inference.SignedModelArtifact(artifact=artifact, variant=variant, get=blobs.signed(digest)))
    fake.answer("GetModelVersion", inference.ModelVersion(name=name))
    fake.answer("SignModelArtifacts", inference.SignModelArtifactsResponse(artifacts=signed))
    for _ in range(2):
        client.model_version(name).download(tmp_path)
        assert files(tmp_path) == {"best.pt": b"weights", "onnx-fp32/1/model.onnx": b"graph"}
    (tmp_path / "other.pt").write_bytes(b"of another version")
    with pytest.raises(errors.FailedPrecondition, match=r"other\.pt"):
        client.model_version(name).download(tmp_path)


def test_an_asset_is_downloaded_to_a_file(fake: Fake, client: Client, blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.keep(b"original")
    asset = annotation.Asset(name="projects/cells/assets/a1", digest=digest)
    fake.answer("GetAsset", asset)
    signed = annotation.SignedDownload(asset=asset.name, get=blobs.signed(digest))
    fake.answer("SignDownloads", annotation.SignDownloadsResponse(downloads=[signed]))
    target = client.asset(asset.name).download(tmp_path / "a.jpg")
    assert target.read_bytes() == b"original"
