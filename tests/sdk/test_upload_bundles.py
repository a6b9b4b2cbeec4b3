"""Small files of a folder travel many in a call, large ones on their own."""

from pathlib import Path

import pytest
from google.protobuf.message import Message

from bloomery import Client, Project, _upload, errors
from bloomery.annotation import v1 as annotation
from bloomery_kit import errors as served
from tests.sdk.blobs import Blobs, digest_of
from tests.sdk.fake import Fake

NAME = "projects/cells"


@pytest.fixture
def held() -> dict[str, bytes]:
    """What the project has got by calls, by digest."""
    return {}


@pytest.fixture
def project(fake: Fake, client: Client, held: dict[str, bytes], blobs: Blobs) -> Project:
    def prepare(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        missing = [blob.digest for blob in request.blobs if blob.digest not in held]
        targets = [annotation.UploadTarget(digest=one, put=blobs.signed(one, {})) for one in missing]
        return annotation.PrepareUploadsResponse(missing=targets)

    def upload(request: annotation.UploadBlobsRequest) -> annotation.UploadBlobsResponse:
        results = []
        for blob in request.blobs:
            results.append(annotation.UploadResult(digest=blob.digest))
            if digest_of(blob.content) == blob.digest:
                held[blob.digest] = blob.content
            else:
                wrong = served.InvalidArgument([served.FieldViolation("digest", "is another")], "DIGEST_MISMATCH")
                results[-1].status.CopyFrom(served.to_status(wrong))
        return annotation.UploadBlobsResponse(results=results)

    done = annotation.Import(name=f"{NAME}/imports/i", state=annotation.Import.STATE_SUCCEEDED, sequence=1)
    fake.answer("GetProject", annotation.Project(name=NAME))
    fake.answer("PrepareUploads", prepare)
    fake.answer("UploadBlobs", upload)
    fake.answer("CreateImport", done)
    fake.script("WatchImport", lambda request: [done])
    return client.project("cells")


def folder(root: Path, sizes: list[int]) -> dict[str, bytes]:
    """Files of these sizes, in the order of their names."""
    contents = {f"{number:03}.png": bytes([number]) * size for number, size in enumerate(sizes)}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return contents


def test_small_files_travel_in_few_calls_and_none_by_a_request_of_its_own(
    fake: Fake, project: Project, held: dict[str, bytes], tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "BUNDLED_BYTES", 100)
    contents = folder(tmp_path, [60, 30, 10, 1, 100, 0, 100, 5])
    project.import_folder(tmp_path)
    sizes = [[len(blob.content) for blob in call.blobs] for call in fake.calls["UploadBlobs"]]
    assert sizes == [[60, 30, 10], [1], [100, 0], [100], [5]]
    assert set(held.values()) == set(contents.values())
    assert blobs.log == []
    project.import_folder(tmp_path)
    assert len(fake.calls["UploadBlobs"]) == 5, "nothing travels twice"


def test_a_large_file_travels_by_a_request_of_its_own(
    fake: Fake, project: Project, held: dict[str, bytes], tmp_path: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "BUNDLED_BYTES", 100)
    contents = folder(tmp_path, [101, 100])
    fake.answer("CompleteUploads", annotation.CompleteUploadsResponse())
    project.import_folder(tmp_path)
    assert list(blobs.held.values()) == [contents["000.png"]]
    assert list(held.values()) == [contents["001.png"]]
    [completed] = fake.calls["CompleteUploads"]
    assert [blob.size_bytes for blob in completed.blobs] == [101]


def test_a_call_that_fails_for_a_moment_is_made_again(
    fake: Fake, project: Project, held: dict[str, bytes], tmp_path: Path
) -> None:
    contents = folder(tmp_path, [3, 4])
    fake.queue("UploadBlobs", served.Unavailable("SHUTTING_DOWN", "back soon"))
    project.import_folder(tmp_path)
    assert set(held.values()) == set(contents.values())


@pytest.mark.parametrize("change", [b"", b"other", b"the same and more"])
def test_a_file_that_changes_while_it_is_sent_is_refused(
    fake: Fake, project: Project, tmp_path: Path, change: bytes
) -> None:
    folder(tmp_path, [3])
    answer = fake.answers["PrepareUploads"]

    def changed(request: annotation.PrepareUploadsRequest) -> Message:
        (tmp_path / "000.png").write_bytes(change)
        assert callable(answer)
        return answer(request)

    fake.answer("PrepareUploads", changed)
    with pytest.raises(errors.InvalidArgument) as caught:
        project.import_folder(tmp_path)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert "000.png" in caught.value.hint
    del fake.answers["CreateImport"]
