"""A folder reaches the project whole, over a network that loses things, and only what is missing travels."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from google.protobuf.message import Message

from bloomery import Client, Project, Step, _upload, errors
from bloomery._folders import LABEL_SUFFIXES
from bloomery._images import SUFFIXES
from bloomery.annotation import v1 as annotation
from bloomery_kit import errors as served
from bloomery_vision import formats, images
from tests.sdk.blobs import DROP, Blobs, digest_of
from tests.sdk.fake import Fake

NAME = "projects/cells"
FILES = {
    "Annotations/a.xml": b"<annotation/>",
    "JPEGImages/a.jpg": b"jpeg a",
    "JPEGImages/b.jpg": b"jpeg b",
    "JPEGImages/copy-of-b.jpg": b"jpeg b",
}


@pytest.fixture(autouse=True)
def singly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small files travel as large ones do."""
    monkeypatch.setattr(_upload, "BUNDLED_BYTES", -1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "cells-folder"
    for name, content in {**FILES, "LICENSE": b"MIT", ".cache/x.jpg": b"hidden", "notes.docx": b"?"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def held() -> set[str]:
    """Digests that the project has."""
    return set()


@pytest.fixture
def project(fake: Fake, client: Client, blobs: Blobs, held: set[str]) -> Project:
    def prepare(request: annotation.PrepareUploadsRequest) -> annotation.PrepareUploadsResponse:
        missing = [
            annotation.UploadTarget(digest=blob.digest, put=blobs.signed(blob.digest, {"x-signed": "yes"}))
            for blob in request.blobs
            if blob.digest not in held
        ]
        return annotation.PrepareUploadsResponse(missing=missing)

    def complete(request: annotation.CompleteUploadsRequest) -> annotation.CompleteUploadsResponse:
        results = []
        for blob in request.blobs:
            result = annotation.UploadResult(digest=blob.digest)
            content = blobs.held.pop(blob.digest, None)
            if content is None:
                result.status.CopyFrom(served.to_status(served.FailedPrecondition("BLOB_MISSING", "upload it first")))
            else:
                assert digest_of(content) == blob.digest
                assert len(content) == blob.size_bytes
                held.add(blob.digest)
            results.append(result)
        return annotation.CompleteUploadsResponse(results=results)

    done = annotation.Import(name=f"{NAME}/imports/i", state=annotation.Import.STATE_SUCCEEDED, sequence=1)
    fake.answer("GetProject", annotation.Project(name=NAME))
    fake.answer("PrepareUploads", prepare)
    fake.answer("CompleteUploads", complete)
    fake.answer("CreateImport", done)
    fake.answer("ListImports", annotation.ListImportsResponse(imports=[done]))
    fake.script("WatchImport", lambda request: [done])
    return client.project("cells")


def puts(blobs: Blobs) -> list[str]:
    return [key for method, key in blobs.log if method == "PUT"]


def test_images_and_labels_are_uploaded_by_digest_and_named_by_path(
    fake: Fake, project: Project, folder: Path, held: set[str]
) -> None:
    project.import_folder(folder, format="voc")
    [request] = fake.calls["CreateImport"]
    created = getattr(request, "import")
    assert {file.path: file.digest for file in created.files if file.digest} == {
        name: digest_of(content) for name, content in FILES.items()
    }
    assert [file.path for file in created.files if not file.digest] == ["LICENSE", "notes.docx"]
    assert (created.format, created.display_name) == (annotation.FORMAT_VOC, "cells-folder")
    assert held == {digest_of(content) for content in FILES.values()}


def test_what_was_not_sent_is_counted_by_ending(project: Project, folder: Path) -> None:
    for name in ("x.heic", "deep/Y.HEIC", ".git/config", "z.jp2"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / os.fsdecode(b"caf\xe9.jpg")).touch()
    (folder / "a\\b.jpg").touch()
    assert project.import_folder(folder).skipped == {
        ".docx": 1,
        ".heic": 2,
        ".jp2": 1,
        "names that are not UTF-8": 1,
        "names with a backslash": 1,
        "without ending": 1,
    }
    assert next(project.imports()).skipped == {}


def test_links_to_folders_are_followed_but_not_in_circles(fake: Fake, project: Project, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").write_bytes(b"a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "folder")
    (tmp_path / "folder/nothing").symlink_to(tmp_path / "missing")
    (tmp_path / "folder/itself").symlink_to(tmp_path / "folder/itself")
    project.import_folder(tmp_path / "folder")
    assert [file.path for file in getattr(fake.calls["CreateImport"][0], "import").files] == ["linked/a.jpg"]


def test_for_a_plan_only_label_files_travel(fake: Fake, project: Project, folder: Path, held: set[str]) -> None:
    steps: list[Step] = []
    project.plan_import(folder, format="voc", progress=steps.append)
    [request] = fake.calls["CreateImport"]
    created = getattr(request, "import")
    assert created.plan_only
    assert {file.path for file in created.files} == {*FILES, "LICENSE", "notes.docx"}
    assert [file.path for file in created.files if file.digest] == ["Annotations/a.xml"]
    assert held == {digest_of(FILES["Annotations/a.xml"])}
    assert "uploading" not in {step.phase for step in steps}


def test_an_import_can_be_strict(fake: Fake, project: Project, folder: Path) -> None:
    project.import_folder(folder)
    project.import_folder(folder, strict=True)
    assert [getattr(request, "import").strict for request in fake.calls["CreateImport"]] == [False, True]


def test_client_and_server_know_the_same_files() -> None:
    assert SUFFIXES == images.SUFFIXES
    assert LABEL_SUFFIXES == formats.LABEL_SUFFIXES


def test_every_kind_of_image_is_sent(fake: Fake, project: Project, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"a{suffix}").write_text(suffix)
        (tmp_path / f"b{suffix.upper()}").write_text(suffix)
    assert project.import_folder(tmp_path).skipped == {}
    assert len(getattr(fake.calls["CreateImport"][0], "import").files) == 2 * len(SUFFIXES)


def test_a_zip_file_is_imported_as_the_folder_in_it(fake: Fake, project: Project, folder: Path, held: set[str]) -> None:
    archive = Path(shutil.make_archive(str(folder.parent / "cells"), "zip", folder))
    project.import_folder(archive)
    created = getattr(fake.calls["CreateImport"][0], "import")
    assert {file.path for file in created.files if file.digest} == set(FILES)
    assert created.display_name == "cells.zip"
    assert held == {digest_of(content) for content in FILES.values()}


def test_a_zip_file_may_name_the_folder_it_was_made_of(project: Project, tmp_path: Path, held: set[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("./", b"")
        archive.writestr("./b.jpg", b"b")
    project.import_folder(tmp_path / "a.zip")
    assert held == {digest_of(b"b")}


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_zip_file_that_is_none_is_told(project: Project, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(errors.InvalidArgument, match=r"a\.zip cannot be unpacked"):
        project.import_folder(tmp_path / "a.zip")


@pytest.mark.parametrize("names", [("images", "images/1.png"), ("a/b/1.png", "a"), ("./a", "a/b/1.png")])
def test_a_zip_file_with_a_file_and_a_folder_of_one_name_is_told(
    project: Project, tmp_path: Path, names: Sequence[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    with pytest.raises(errors.InvalidArgument, match=r"a\.zip cannot be unpacked: \S+ is a file and a folder in it"):
        project.import_folder(tmp_path / "a.zip")


@pytest.mark.parametrize("inner", [{}, {"b.zip": b"x"}, {"../b.png": b"x"}, {"b\\c.png": b"x"}])
def test_what_a_zip_file_lacks_is_told_with_its_own_name(
    project: Project, tmp_path: Path, inner: Mapping[str, bytes]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, content in inner.items():
            archive.writestr(name, content)
    with pytest.raises(errors.BloomeryError) as caught:
        project.import_folder(tmp_path / "a.zip", strict=True)
    assert "a.zip" in str(caught.value)
    assert "bloomery-" not in str(caught.value)


def test_another_archive_is_to_be_unpacked(project: Project, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(errors.InvalidArgument) as caught:
        project.import_folder(tmp_path / "a.tar.gz")
    assert "unpack" in caught.value.hint


@pytest.mark.parametrize("name", ["../b.jpg", "..\\b.jpg", "/b.jpg"])
def test_a_zip_file_that_would_write_elsewhere_is_refused(project: Project, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(of_windows(name), b"x")
    with pytest.raises(errors.InvalidArgument, match="outside") as caught:
        project.import_folder(tmp_path / "a.zip")
    assert caught.value.reason == "UNSAFE_NAME"


def test_folders_of_a_zip_file_may_be_separated_by_backslashes(
    fake: Fake, project: Project, tmp_path: Path, held: set[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(of_windows("images\\"), b"")
        archive.writestr(of_windows("images\\a.jpg"), b"a")
        archive.writestr(of_windows("labels/a.txt"), b"0")
    project.import_folder(tmp_path / "a.zip")
    created = getattr(fake.calls["CreateImport"][0], "import")
    assert {file.path for file in created.files} == {"images/a.jpg", "labels/a.txt"}
    assert held == {digest_of(b"a"), digest_of(b"0")}


def of_windows(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 0
    return info


def test_equal_files_travel_once_with_the_signed_headers(project: Project, folder: Path, blobs: Blobs) -> None:
    project.import_folder(folder)
    assert len(puts(blobs)) == len(set(FILES.values()))
    assert all(headers["x-signed"] == "yes" for headers in blobs.headers)
    assert all("transfer-encoding" not in headers for headers in blobs.headers)


def test_what_the_project_has_does_not_travel_again(
    fake: Fake, project: Project, folder: Path, blobs: Blobs, held: set[str]
) -> None:
    held |= {digest_of(b"jpeg a"), digest_of(b"jpeg b")}
    project.import_folder(folder)
    assert puts(blobs) == [digest_of(b"<annotation/>")]
    project.import_folder(folder)
    assert len(puts(blobs)) == 1
    assert len(fake.calls["CompleteUploads"]) == 1


@pytest.mark.parametrize("given", [None, 3])
def test_no_more_files_travel_at_once_than_is_said(
    fake: Fake, project: Project, blobs: Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: int | None
) -> None:
    monkeypatch.setenv("BLOOMERY_TRANSFERS", "5" if given else "3")
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(str(number))
    with Client(fake.endpoint, token="secret", transfers=given) as client:
        client.project("cells").import_folder(tmp_path)
    assert len(puts(blobs)) == 40
    assert 1 < blobs.most_at_once <= 3


def test_a_limit_that_is_no_number_is_told(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLOOMERY_TRANSFERS", "many")
    with pytest.raises(errors.InvalidArgument, match="BLOOMERY_TRANSFERS is 'many'"):
        Client(fake.endpoint)


def test_a_flaky_object_store_is_tried_again(project: Project, folder: Path, blobs: Blobs, held: set[str]) -> None:
    blobs.faults += [503, DROP, 500, DROP]
    project.import_folder(folder)
    assert len(held) == 3
    assert len(puts(blobs)) == 3 + 4


def test_an_expired_signature_is_signed_anew(fake: Fake, project: Project, folder: Path, blobs: Blobs) -> None:
    blobs.faults += [403]
    project.import_folder(folder)
    assert len(fake.calls["PrepareUploads"]) == 2


def test_a_blob_that_got_lost_on_the_way_is_sent_again(
    fake: Fake, project: Project, folder: Path, blobs: Blobs, held: set[str]
) -> None:
    lost = served.to_status(served.InvalidArgument([served.FieldViolation("digest", "is another")], "DIGEST_MISMATCH"))
    keep = fake.answers["CompleteUploads"]
    assert callable(keep)
    answers = iter(
        [
            annotation.CompleteUploadsResponse(
                results=[annotation.UploadResult(digest=digest_of(b"jpeg a"), status=lost)]
            )
        ]
    )
    fake.answer("CompleteUploads", lambda request: next(answers, None) or keep(request))
    project.import_folder(folder)
    assert len(held) == 3


def test_a_store_that_keeps_refusing_is_reported(project: Project, folder: Path, blobs: Blobs) -> None:
    blobs.faults += [403] * 20
    with pytest.raises(errors.TransferFailed, match="403"):
        project.import_folder(folder)


def test_a_refusal_of_the_server_is_raised_as_it_is(fake: Fake, project: Project, folder: Path) -> None:
    fake.queue("PrepareUploads", served.ResourceExhausted("DISK_LOW", "the disk is low"))
    with pytest.raises(errors.ResourceExhausted, match="disk is low"):
        project.import_folder(folder)


def test_many_files_go_in_pages(fake: Fake, project: Project, tmp_path: Path) -> None:
    for number in range(260):
        (tmp_path / f"{number:03}.txt").write_text(str(number))
    steps: list[Step] = []
    project.import_folder(tmp_path, progress=steps.append)
    assert sorted(len(call.blobs) for call in fake.calls["PrepareUploads"]) == [10, 250]
    names = [file.path for file in getattr(fake.calls["CreateImport"][0], "import").files]
    assert names == sorted(names)
    assert [(step.phase, step.done, step.total) for step in steps[:2]] == [
        ("uploading", 250, 260),
        ("uploading", 260, 260),
    ]
    assert steps[-1].phase == "importing"


def test_the_files_of_a_large_folder_are_listed_in_a_file(
    fake: Fake, project: Project, folder: Path, blobs: Blobs, held: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "INLINE_FILES", 3)
    sent: dict[str, bytes] = {}
    keep = fake.answers["CompleteUploads"]
    assert callable(keep)

    def complete(request: annotation.CompleteUploadsRequest) -> Message:
        sent.update(blobs.held)
        return keep(request)

    fake.answer("CompleteUploads", complete)
    (folder / "Annotations/ü \n.xml").write_bytes(b"<annotation/>")
    project.import_folder(folder, format="voc")
    created = getattr(fake.calls["CreateImport"][0], "import")
    assert (list(created.files), created.format) == ([], annotation.FORMAT_VOC)
    assert created.file_list in held
    lines = [json.loads(line) for line in sent[created.file_list].splitlines()]
    names = {**FILES, "Annotations/ü \n.xml": b"<annotation/>"}
    unsent = {"LICENSE": "", "notes.docx": ""}
    assert {line["path"]: line["digest"] for line in lines} == unsent | {
        name: digest_of(content) for name, content in names.items()
    }


def test_a_folder_without_anything_to_import_is_refused_here(project: Project, tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="no images or label files"):
        project.import_folder(tmp_path)
    with pytest.raises(errors.NotFound, match=r"there is no .*missing"):
        project.import_folder(tmp_path / "missing")
    with pytest.raises(errors.NotFound, match=r"there is no .*missing\.zip"):
        project.import_folder(tmp_path / "missing.zip")


def test_an_import_that_fails_raises_why(fake: Fake, project: Project, folder: Path) -> None:
    why = served.to_status(served.InvalidArgument([served.FieldViolation("files", "no format fits")], "FORMAT_UNKNOWN"))
    failed = annotation.Import(name=f"{NAME}/imports/i", state=annotation.Import.STATE_FAILED, error=why, sequence=2)
    fake.script("WatchImport", lambda request: [failed])
    with pytest.raises(errors.ImportFailed, match="no format fits") as caught:
        project.import_folder(folder)
    assert caught.value.reason == "FORMAT_UNKNOWN"
