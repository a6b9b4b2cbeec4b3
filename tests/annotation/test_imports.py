"""Imports: broken files, other people's edits, watching."""

import json
import tracemalloc
from typing import Any

import pytest

from bloomery.annotation.v1 import (
    FORMAT_COCO,
    FORMAT_IMAGES,
    FORMAT_YOLO,
    AnnotationSet,
    CreateImportRequest,
    CreateLabelRequest,
    GetAnnotationSetRequest,
    Import,
    ImportFile,
    Label,
    ListAnnotationSetsRequest,
    ListAssetsRequest,
    ListImportsRequest,
    ListLabelsRequest,
    Project,
    UpdateAnnotationSetRequest,
    UpdateLabelRequest,
    WatchImportRequest,
)
from bloomery.vision.v1 import Provenance
from bloomery_annotation.importer import parsing as import_parsing
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.store import imports as import_store
from bloomery_vision.formats import ImportItem
from bloomery_vision.geometry import Shape, Tag
from tests.annotation.folders import codes, counts, voc, voc_folder
from tests.annotation.helpers import Server, box, digest_of, fields_of, png, reason_of, status_of


async def test_of_a_broken_voc_folder_the_good_items_land(server: Server, project: Project) -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY e "e">]><annotation><filename>x.png</filename></annotation>'
    done = await server.run_import(
        project,
        {
            "good.png": png(1), "good.xml": voc("good.png", ("cell", 1, 1, 10, 10)),
            "nobody.xml": voc("nobody.png", ("cell", 1, 1, 10, 10)),
            "half.png": png(2)[:60], "half.xml": voc("half.png", ("cell", 1, 1, 10, 10)),
            "bomb.png": png(3), "bomb.xml": bomb,
            "torn.png": png(4), "torn.xml": b"<annotation><object>",
            "odd.png": png(5),
            "odd.xml": voc("odd.png", ("cell", "nan", 1, 5, 5), ("cell", 9, 9, 3, 3), ("cell", 70, 1, 90, 9)),  # type: ignore[arg-type]
            "alone.png": png(6),
            ".hidden/x.png": png(7),
        },
    )  # fmt: skip
    assert done.state == Import.STATE_SUCCEEDED
    assert codes(done)["nobody.xml"] == "MISSING_IMAGE"
    assert codes(done)["half.png"] in ("TRUNCATED", "NOT_AN_IMAGE")
    assert codes(done)["bomb.png"] == "XML_ENTITIES"
    assert codes(done)["torn.png"] == "BROKEN_FILE"
    assert {problem.code for problem in done.problems if problem.item == "odd.png"} == {
        "NOT_FINITE", "ZERO_AREA", "OUTSIDE_IMAGE",
    }  # fmt: skip
    assert all(problem.hint for problem in done.problems)
    assert counts(done) == (3, 1, 0, 4)
    names = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="annotated"))
    assert [asset.display_name for asset in names.assets] == ["good.png"], "what lost all its shapes is not empty"


async def test_of_a_broken_coco_file_the_good_items_land(server: Server, project: Project) -> None:
    def shape(identity: int, image: int, category: int, *bbox: float) -> dict[str, object]:
        return {"id": identity, "image_id": image, "category_id": category, "bbox": bbox}

    file = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in (1, 2, 3)],
        "annotations": [
            shape(1, 1, 7, 1, 1, 5, 5),
            shape(2, 1, 99, 1, 1, 5, 5),
            shape(3, 2, 7, 1, 1, 0, 0),
            shape(4, 77, 7, 1, 1, 5, 5),
        ],
        "categories": [{"id": 7, "name": "cell"}, {"id": 8, "name": "dust"}],
    }  # fmt: skip
    files = {"1.png": png(1), "2.png": png(2), "instances.json": json.dumps(file).encode()}
    done = await server.run_import(project, files)
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_COCO)
    assert counts(done) == (2, 1, 0, 2)
    assert {"UNKNOWN_CLASS" in code or "CATEGORY" in code for code in codes(done).values()} == {True, False}
    assert codes(done)["3.png"] == "MISSING_IMAGE"
    broken = await server.run_import(
        project, {"1.png": png(1), "i.json": b'{"images": [], "annotations": [{'}, format=2
    )
    assert broken.state in (Import.STATE_SUCCEEDED, Import.STATE_FAILED)
    assert broken.problem_count or broken.error.message


async def test_texts_that_no_database_takes_are_mended(both: Server) -> None:
    project = await both.project()
    file = (
        '{"images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "\\u0000\\ud800.png"}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 1, 5, 5]}], '
        '"categories": [{"id": 7, "name": "cell\\u0000\\ud800"}]}'
    )
    done = await both.run_import(project, {"1.png": png(1), "instances.json": file.encode()})
    assert (done.state, counts(done)) == (Import.STATE_SUCCEEDED, (1, 1, 0, 1))
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert [label.display_name for label in listed.labels] == ["cell??"]


async def test_of_a_broken_yolo_folder_the_good_items_land(server: Server, project: Project) -> None:
    done = await server.run_import(
        project,
        {
            "data.yaml": b"names: [cell, dust]",
            "images/train/a.png": png(1), "labels/train/a.txt": b"0 0.5 0.5 0.2 0.2\n9 0.5 0.5 0.2 0.2\nrubbish\n",
            "images/val/b.png": png(2), "labels/val/b.txt": b"",
            "images/val/c.png": png(3), "labels/val/c.txt": b"9 0.5 0.5 0.2 0.2",
            "labels/val/orphan.txt": b"0 0.5 0.5 0.1 0.1",
        },
    )  # fmt: skip
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_YOLO)
    assert counts(done) == (3, 2, 0, 1)
    assert done.shape_count == 1
    listed = await server.stub.ListAssets(ListAssetsRequest(parent=project.name))
    assert {asset.display_name: asset.split for asset in listed.assets} == {
        "images/train/a.png": "train", "images/val/b.png": "val", "images/val/c.png": "val",
    }  # fmt: skip
    lost = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="unannotated"))
    assert [asset.display_name for asset in lost.assets] == ["images/val/c.png"], "lost shapes are not an empty image"


async def test_files_in_no_known_format_fail_with_the_reason(server: Server, project: Project) -> None:
    files = {"a.png": png(1), "labels.json": b'{"boxes": []}'}
    done = await server.run_import(project, files)
    assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "UNKNOWN_FORMAT")
    assert "VOC" in done.error.message
    assert "name the format `images`" in done.error.message
    asked_for = await server.run_import(project, files, format=FORMAT_IMAGES)
    assert not asked_for.plan.doubts
    assert (asked_for.format, *counts(asked_for)) == (FORMAT_IMAGES, 1, 0, 0, 0)


async def test_images_without_labels_come_in_as_not_annotated(server: Server, project: Project) -> None:
    done = await server.run_import(project, {"train/a.png": png(1), "b.png": png(2), "bad.png": b"", "notes.txt": b""})
    assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_IMAGES)
    assert (done.item_count, *counts(done)) == (3, 2, 0, 0, 1)
    assert codes(done) == {"bad.png": "EMPTY"}
    listed = await server.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="unannotated"))
    assert {asset.display_name: asset.split for asset in listed.assets} == {"train/a.png": "train", "b.png": ""}


async def test_what_people_and_models_made_is_left_alone(both: Server) -> None:
    project = await both.project()
    files = voc_folder(3)
    await both.label("mine")
    asset = (await both.assets(project, [files["images/001.png"]]))[0]
    mine = await both.save(asset, [box("mine")])
    done = await both.run_import(project, files)
    assert counts(done) == (2, 2, 1, 0)
    assert await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=mine.name)) == mine
    # An import's own shapes are replaced by those of a later one.
    files["xml/002.xml"] = voc("002.png", ("cell", 5, 5, 20, 20), ("dust", 5, 5, 9, 9))
    later = await both.run_import(project, files)
    assert counts(later) == (0, 1, 2, 0)
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert {one.display_name: one.shape_count for one in listed.labels} == {"mine": 1, "cell": 2, "dust": 1}


async def test_a_label_that_was_renamed_is_found_by_the_name_in_the_files(both: Server) -> None:
    project = await both.project()
    files = voc_folder(2)
    await both.run_import(project, files)
    for name in ("Cell", "nucleus"):
        renamed = Label(name="projects/p/labels/cell", display_name=name)
        await both.stub.UpdateLabel(UpdateLabelRequest(label=renamed))
    again = await both.run_import(project, files)
    assert counts(again) == (0, 0, 2, 0)
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert [(one.display_name, list(one.former_names)) for one in listed.labels] == [("nucleus", ["Cell", "cell"])]


async def test_a_name_belongs_to_the_label_that_has_it_now(both: Server) -> None:
    project = await both.project()
    files = voc_folder(1)
    await both.run_import(project, files)
    await both.stub.UpdateLabel(UpdateLabelRequest(label=Label(name="projects/p/labels/cell", display_name="other")))
    await both.stub.CreateLabel(CreateLabelRequest(parent=project.name, label=Label(display_name="cell")))
    assert counts(await both.run_import(project, files)) == (0, 1, 0, 0)
    listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name))
    assert {one.display_name: one.shape_count for one in listed.labels} == {"other": 0, "cell": 1}


async def test_a_name_that_comes_back_is_no_former_one(both: Server) -> None:
    await both.project()
    await both.label("cell")

    async def rename(name: str) -> list[str]:
        label = Label(name="projects/p/labels/cell", display_name=name)
        return list((await both.stub.UpdateLabel(UpdateLabelRequest(label=label))).former_names)

    assert await rename("a") == ["cell"]
    assert await rename("b") == ["a", "cell"]
    assert await rename("a") == ["b", "cell"]


async def test_what_a_person_confirmed_is_left_alone(both: Server) -> None:
    project = await both.project()
    files = voc_folder(1)
    await both.run_import(project, files)
    listed = await both.stub.ListAnnotationSets(ListAnnotationSetsRequest(parent="projects/p/assets/-"))
    (imported,) = listed.annotation_sets
    confirmed = await both.stub.UpdateAnnotationSet(
        UpdateAnnotationSetRequest(
            annotation_set=AnnotationSet(name=imported.name, shapes=imported.shapes, etag=imported.etag)
        )
    )
    assert (confirmed.revision, confirmed.provenance.source) == (2, Provenance.SOURCE_HUMAN)
    assert confirmed.shapes == imported.shapes
    files["xml/000.xml"] = voc("000.png", ("dust", 5, 5, 20, 20))
    assert counts(await both.run_import(project, files)) == (0, 0, 1, 0)
    assert await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=imported.name)) == confirmed


async def test_a_start_is_checked_at_once_and_happens_once(both: Server) -> None:
    project = await both.project()
    digest = digest_of(png(1))

    def request(*files: tuple[str, str], **fields: Any) -> CreateImportRequest:
        wanted = Import(files=[ImportFile(path=path, digest=digest) for path, digest in files])
        return CreateImportRequest(parent=project.name, **{"import": wanted}, **fields)  # type: ignore[arg-type]

    missing = await status_of(both.stub.CreateImport(request(("a.png", digest))))
    assert reason_of(missing) == "BLOB_MISSING"
    assert digest in missing.message
    bad = request(("../a.png", digest), ("/a.png", "x"), ("a.png", digest), ("a.png", digest_of(b"")))
    assert fields_of(await status_of(both.stub.CreateImport(bad))) == [
        "import.files[0].path", "import.files[1].path", "import.files[1].digest", "import.files[3].path",
    ]  # fmt: skip
    assert fields_of(await status_of(both.stub.CreateImport(request()))) == ["import.files"]
    await both.upload([png(1)], project)
    good = request(("a.png", digest), import_id="first", request_id="r")
    started = await both.stub.CreateImport(good)
    assert await both.stub.CreateImport(good) == started
    taken = await status_of(both.stub.CreateImport(request(("a.png", digest), import_id="first")))
    assert reason_of(taken) == "ALREADY_EXISTS"
    second = await both.stub.CreateImport(request(("a.png", digest)))
    page = await both.stub.ListImports(ListImportsRequest(parent=project.name, page_size=1))
    rest = await both.stub.ListImports(
        ListImportsRequest(parent=project.name, page_size=1, page_token=page.next_page_token)
    )
    assert [one.name for one in (*page.imports, *rest.imports)] == [second.name, "projects/p/imports/first"]
    await both.finish(second.name)


async def test_a_watch_shows_progress_and_resumes(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_run, "BATCH", 2)
    started = await server.start_import(project, voc_folder(20))
    states = [state async for state in server.stub.WatchImport(WatchImportRequest(name=started.name))]
    sequences = [state.sequence for state in states]
    assert sequences == sorted(set(sequences))
    assert states[-1].state == Import.STATE_SUCCEEDED
    done = [state.done_count for state in states]
    assert done == sorted(done)
    request = WatchImportRequest(name=started.name, after_sequence=sequences[-1] - 1)
    assert [state async for state in server.stub.WatchImport(request, timeout=5)] == states[-1:]
    request.after_sequence += 1
    assert [state async for state in server.stub.WatchImport(request, timeout=5)] == []


async def test_a_batch_of_large_shapes_has_fewer_images(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = await server.run_import(project, voc_folder(5))
    monkeypatch.setattr(import_parsing, "_MOST_AT_ONCE", 1)
    done = await server.run_import(project, voc_folder(5))
    assert done.sequence - together.sequence == 4, "each batch is a change of the import"
    assert done.done_count == together.done_count == 5


async def test_a_batch_with_many_findings_has_fewer_images(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.xml": voc(f"{number}.png", ("cell", 1, 1, 5, 5)) for number in range(5)} | {"one.png": png(1)}
    together = await server.run_import(project, files)
    monkeypatch.setattr(import_parsing, "_MOST_AT_ONCE", 1)
    done = await server.run_import(project, files)
    assert done.sequence - together.sequence >= 4, "each batch is a change of the import"
    assert done.failed_count == together.failed_count == 5


def test_a_label_that_is_far_too_long_leaves_nothing_in_memory() -> None:
    def label_of(text: str) -> str:
        (made,) = import_parsing.storable(ImportItem("a.png", shapes=(Shape(Tag(), label=text),))).shapes
        return made.label

    tracemalloc.start()
    try:
        assert [label_of(digit * 1_000_000) for digit in "0123456789"] == [digit * 200 for digit in "0123456789"]
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_too_many_problems_are_counted_but_not_all_kept(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_store, "MAX_PROBLEMS", 7)
    monkeypatch.setattr(import_run, "BATCH", 4)
    files = {f"{number}.xml": voc(f"{number}.png", ("cell", 1, 1, 5, 5)) for number in range(10)}
    done = await server.run_import(project, files | {"one.png": png(1)})
    assert (done.problem_count, len(done.problems), done.failed_count) == (10, 7, 10)


async def test_of_each_kind_of_problem_there_is_a_count_and_the_first(
    server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_store, "MAX_PROBLEMS", 1)
    monkeypatch.setattr(import_run, "BATCH", 4)
    missing = {f"{number}.xml": voc(f"{number}.png", ("cell", 1, 1, 5, 5)) for number in range(9)}
    odd = {"y.xml": voc("y.png", ("cell", 1, 1, 90, 90)), "y.png": png(1), "z.png": b"no image"}
    done = await server.run_import(project, missing | odd)
    assert done.problem_counts == {"MISSING_IMAGE": 9, "PARTLY_OUTSIDE": 1, "NOT_AN_IMAGE": 1}
    assert sum(done.problem_counts.values()) == done.problem_count
    assert sorted(problem.code for problem in done.problems) == sorted(done.problem_counts)
