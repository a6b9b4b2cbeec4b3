"""A dataset version that is exported, as a service would answer for it."""

import io
import zipfile
from pathlib import Path

from bloomery import Client, DatasetVersion
from bloomery.common.v1 import Artifact
from bloomery.dataset import v1 as dataset
from tests.sdk.blobs import Blobs
from tests.sdk.fake import Fake, numbered

VERSION = "projects/cells/datasets/cells-v/versions/1"
IMAGES = {"train/a.jpg": b"image a", "train/b.jpg": b"image b", "test/c.jpg": b"image c"}


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def exportable(fake: Fake, client: Client, blobs: Blobs) -> DatasetVersion:
    """A version of three images that the server lists by pages of two, with label files for one of them."""
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
