"""Large files travel in parts, and what has arrived does not travel again."""

import random
from collections import Counter
from pathlib import Path

import pytest

from bloomery import Client, Project, _upload, errors
from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Artifact, UploadPart
from bloomery.training.v1 import (
    CompleteInputUploadRequest,
    Job,
    PrepareInputUploadRequest,
    PrepareInputUploadResponse,
)
from bloomery_kit import errors as served
from tests.sdk.blobs import DROP, Blobs, digest_of
from tests.sdk.fake import Fake

NAME = "projects/cells"
CONTENT = random.Random(1).randbytes(2500)
DIGEST = digest_of(CONTENT)
STEP = 1000
PARTS = {f"{DIGEST}.{offset}": CONTENT[offset : offset + STEP] for offset in range(0, len(CONTENT), STEP)}
MISMATCH = served.to_status(served.InvalidArgument([served.FieldViolation("digest", "is another")], "DIGEST_MISMATCH"))


class Server:
    """Joins the parts that lie in the object store."""

    def __init__(self, blobs: Blobs) -> None:
        self.blobs = blobs
        self.kept: set[str] = set()

    def missing(self, digest: str, size: int) -> list[UploadPart]:
        return [
            UploadPart(offset=offset, size_bytes=min(STEP, size - offset), put=self.blobs.signed(f"{digest}.{offset}"))
            for offset in range(0, size, STEP)
            if f"{digest}.{offset}" not in self.blobs.held
        ]

    def join(self, digest: str, size: int) -> bytes:
        parts = [self.blobs.held.pop(f"{digest}.{offset}", b"") for offset in range(0, size, STEP)]
        return b"".join([*parts, self.blobs.held.pop(digest, b"")])

    def prepare(self, request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        targets = []
        for blob in request.blobs:
            target = annotation.UploadTarget(digest=blob.digest)
            if request.in_parts and blob.size_bytes > STEP:
                target.parts.extend(self.missing(blob.digest, blob.size_bytes))
            elif blob.size_bytes > request.unsigned_up_to_bytes:
                target.put.CopyFrom(self.blobs.signed(blob.digest))
            if blob.digest not in self.kept:
                targets.append(target)
        return annotation.PrepareUploadsResponse(missing=targets)

    def complete(self, request: annotation.CompleteUploadsRequest) -> annotation.CompleteUploadsResponse:
        results = []
        for blob in request.blobs:
            result = annotation.UploadResult(digest=blob.digest)
            content = self.join(blob.digest, blob.size_bytes)
            if digest_of(content) == blob.digest:
                self.kept.add(blob.digest)
            else:
                result.status.CopyFrom(MISMATCH)
            results.append(result)
        return annotation.CompleteUploadsResponse(results=results)


@pytest.fixture
def server(fake: Fake, blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(_upload, "BUNDLED_BYTES", 10)
    monkeypatch.setattr(_upload, "PARTED_BYTES", STEP)
    server = Server(blobs)
    done = annotation.Import(name=f"{NAME}/imports/i", state=annotation.Import.STATE_SUCCEEDED, sequence=1)
    fake.answer("GetProject", annotation.Project(name=NAME))
    fake.answer("PrepareUploads", server.prepare)
    fake.answer("CompleteUploads", server.complete)
    fake.answer("CreateImport", done)
    fake.script("WatchImport", lambda request: [done])
    return server


@pytest.fixture
def project(server: Server, client: Client) -> Project:
    return client.project("cells")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/large.json").write_bytes(CONTENT)
    return tmp_path / "folder"


def sent(blobs: Blobs) -> list[str]:
    return [key for method, key in blobs.log if method == "PUT"]


def test_a_large_file_is_sent_in_parts(server: Server, project: Project, folder: Path, blobs: Blobs) -> None:
    project.import_folder(folder)
    assert sorted(sent(blobs)) == sorted(PARTS)
    assert server.kept == {DIGEST}


def test_parts_that_are_there_are_not_sent_again(server: Server, project: Project, folder: Path, blobs: Blobs) -> None:
    first, second, third = PARTS
    blobs.held |= {first: PARTS[first], third: PARTS[third]}
    project.import_folder(folder)
    assert sent(blobs) == [second]
    assert server.kept == {DIGEST}


def test_of_a_file_that_is_all_there_nothing_is_sent(
    server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    blobs.held |= PARTS
    project.import_folder(folder)
    assert sent(blobs) == []
    assert server.kept == {DIGEST}


def test_copies_of_a_large_file_travel_once(server: Server, project: Project, folder: Path, blobs: Blobs) -> None:
    (folder / "copy.json").write_bytes(CONTENT)
    project.import_folder(folder)
    assert sorted(sent(blobs)) == sorted(PARTS)


def test_large_and_small_files_travel_beside_each_other(
    fake: Fake, server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    (folder / "other.json").write_bytes(CONTENT[::-1])
    (folder / "middle.json").write_bytes(b"x" * STEP)
    project.import_folder(folder)
    assert server.kept == {DIGEST, digest_of(CONTENT[::-1]), digest_of(b"x" * STEP)}
    assert set(Counter(sent(blobs)).values()) == {1}
    assert sorted(len(request.blobs) for request in fake.calls["CompleteUploads"]) == [1, 1, 1]


def test_a_server_that_knows_no_parts_gets_the_file_whole(
    fake: Fake, server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    def prepare(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        request.in_parts = False
        return server.prepare(request)

    fake.answer("PrepareUploads", prepare)
    project.import_folder(folder)
    assert sent(blobs) == [DIGEST]
    assert server.kept == {DIGEST}


def test_a_part_that_gets_lost_on_the_way_is_sent_again_by_itself(
    fake: Fake, server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    blobs.faults += [503, DROP]
    project.import_folder(folder)
    assert len(sent(blobs)) == 5
    assert len(fake.calls["PrepareUploads"]) == 1
    assert server.kept == {DIGEST}


def test_signatures_that_expire_on_the_way_are_asked_for_as_long_as_parts_arrive(
    fake: Fake, server: Server, project: Project, folder: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "_PARTS", 1)
    content = random.Random(2).randbytes(7 * STEP)
    (folder / "large.json").write_bytes(content)

    def prepare(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        """Each signature but the first is good for nothing."""
        answer = server.prepare(request)
        for target in answer.missing:
            for part in target.parts[1:]:
                part.put.url += "-expired"
        return answer

    fake.answer("PrepareUploads", prepare)
    blobs.refused = "-expired"
    project.import_folder(folder)
    assert len(fake.calls["PrepareUploads"]) == 7
    arrived = [key for key in sent(blobs) if not key.endswith("-expired")]
    assert arrived == [f"{digest_of(content)}.{offset}" for offset in range(0, 7 * STEP, STEP)]
    assert server.kept == {digest_of(content)}


def test_a_store_that_refuses_every_part_is_reported(
    server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    blobs.faults += [403] * 50
    with pytest.raises(errors.TransferFailed, match="403"):
        project.import_folder(folder)


def test_a_file_that_always_arrives_otherwise_is_refused_in_the_end(
    fake: Fake, server: Server, project: Project, folder: Path, blobs: Blobs
) -> None:
    def complete(request: annotation.CompleteUploadsRequest) -> annotation.CompleteUploadsResponse:
        server.join(DIGEST, len(CONTENT))
        return annotation.CompleteUploadsResponse(results=[annotation.UploadResult(digest=DIGEST, status=MISMATCH)])

    fake.answer("CompleteUploads", complete)
    with pytest.raises(errors.InvalidArgument) as caught:
        project.import_folder(folder)
    assert caught.value.reason == "DIGEST_MISMATCH"
    assert "large.json" in caught.value.hint
    assert len(sent(blobs)) == 9


def test_no_more_parts_of_a_file_travel_at_once_than_may_get_lost(project: Project, folder: Path, blobs: Blobs) -> None:
    (folder / "large.json").write_bytes(random.Random(2).randbytes(40 * STEP))
    project.import_folder(folder)
    assert len(sent(blobs)) == 40
    assert 1 < blobs.most_at_once <= 4


@pytest.fixture
def weights(fake: Fake, server: Server, tmp_path: Path) -> Path:
    """A model that somebody trained elsewhere."""

    def prepare(request: PrepareInputUploadRequest) -> PrepareInputUploadResponse:
        assert request.in_parts
        return PrepareInputUploadResponse(parts=server.missing(request.artifact.digest, request.artifact.size_bytes))

    def complete(request: CompleteInputUploadRequest) -> Artifact:
        assert digest_of(server.join(request.artifact.digest, request.artifact.size_bytes)) == request.artifact.digest
        return Artifact(digest=request.artifact.digest, logical_key="kept")

    fake.answer("PrepareInputUpload", prepare)
    fake.answer("CompleteInputUpload", complete)
    fake.answer("CreateJob", Job(name=f"{NAME}/jobs/j"))
    (tmp_path / "best.pt").write_bytes(CONTENT)
    return tmp_path / "best.pt"


def test_a_model_is_sent_in_parts_of_which_those_that_are_there_are_not(
    project: Project, weights: Path, blobs: Blobs
) -> None:
    first, *rest = PARTS
    blobs.held[first] = PARTS[first]
    project.import_model(weights, model="mine", recipe="yolo-detect")
    assert sorted(sent(blobs)) == rest
