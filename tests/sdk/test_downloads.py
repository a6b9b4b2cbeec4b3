"""What is downloaded is what was promised, complete, and inside of the folder that the caller named."""

import asyncio
import json
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bloomery import Client, errors
from bloomery._archive import extract, inside
from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Artifact
from bloomery.inference import v1 as inference
from tests.sdk.blobs import Blobs
from tests.sdk.exports import files, zipped
from tests.sdk.fake import Fake


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
    told = inference.ModelVersion(name=name, metrics={"test/map50": 0.5})
    fake.answer("GetModelCard", inference.ModelCard(model_version=told))
    for _ in range(2):
        written = client.model_version(name).download(tmp_path)
        found = files(tmp_path)
        metadata = json.loads(found.pop("metadata.json"))
        assert metadata == {"modelVersion": {"name": name, "metrics": {"test/map50": 0.5}}}
        assert found == {"best.pt": b"weights", "onnx-fp32/1/model.onnx": b"graph"}
        assert sorted(path.name for path in written) == ["best.pt", "metadata.json", "model.onnx"]
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
