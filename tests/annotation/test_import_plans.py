"""Imports tell what they understand of a folder, count every image once, and repair what an earlier one got wrong."""

import asyncio
import json
from collections.abc import Mapping
from itertools import count

import pytest
import sqlalchemy as sa
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bloomery.annotation.v1 import (
    FORMAT_COCO,
    FORMAT_IMAGES,
    FORMAT_YOLO,
    Asset,
    CreateImportRequest,
    GetAnnotationSetRequest,
    GetImportRequest,
    Import,
    ImportFile,
    ImportOutcomes,
    ImportPlan,
    ListAssetsRequest,
    ListImportsRequest,
    ListLabelsRequest,
    Project,
    UpdateAssetRequest,
    WatchImportRequest,
)
from bloomery_annotation import checks, convert
from bloomery_annotation.importer import run as import_run
from bloomery_annotation.importer.parsing import Entry, Parser, shown
from bloomery_kit.clients import DEFAULT_MESSAGE_BYTES
from bloomery_kit.errors import Aborted
from bloomery_vision.formats import MappingSource, understand
from bloomery_vision.formats.plan import Left
from tests.annotation.folders import codes
from tests.annotation.helpers import Server, box, fields_of, png, reason_of, status_of
from tests.vision.folders import enormous_plan

LINE = b"0 0.5 0.5 0.2 0.2"
NUMBERS = count()


def yolo(*, config: str = "names: [cat, dog]\ntrain: images/train\nval: images/val\n") -> dict[str, bytes]:
    files = {"data.yaml": config.encode(), "images/train/a.png": png(1), "labels/train/a.txt": LINE}
    return files | {"images/val/b.png": png(2), "labels/val/b.txt": b""}


async def splits(server: Server, project: Project) -> dict[str, str]:
    listed = await server.stub.ListAssets(ListAssetsRequest(parent=project.name))
    return {asset.display_name: asset.split for asset in listed.assets}


async def labels(server: Server, project: Project) -> dict[str, int]:
    listed = await server.stub.ListLabels(ListLabelsRequest(parent=project.name))
    return {label.display_name: label.shape_count for label in listed.labels}


def test_a_plan_of_any_size_fits_into_a_message() -> None:
    plan = convert.import_plan(shown(enormous_plan(3000, "猫" * 1000)))
    assert plan.ByteSize() < DEFAULT_MESSAGE_BYTES / 2
    assert (plan.unlabelled.count, plan.class_count, plan.class_lists[0].name_count) == (3000, 3000, 3000)
    assert len(plan.unlabelled.paths) > 50


def test_a_plan_that_a_newer_replica_stored_is_read_without_what_is_new_in_it() -> None:
    assert convert.import_plan('{"imageCount": "3", "newer": [{"a": "4"}]}') == ImportPlan(image_count=3)


async def watched(server: Server, project: Project, monkeypatch: pytest.MonkeyPatch) -> list[Import]:
    """The states of an import that goes on once the first of them was seen."""
    seen = asyncio.Event()
    real = Parser.take

    async def take(parser: Parser, place: int, count: int) -> list[Entry]:
        await seen.wait()
        return await real(parser, place, count)

    monkeypatch.setattr(Parser, "take", take)
    started = await server.start_import(project, yolo())
    states = []
    async for state in server.stub.WatchImport(WatchImportRequest(name=started.name)):
        states.append(state)
        seen.set()
    return states


class TestPlans:
    async def test_a_plan_is_kept_with_the_import(self, both: Server) -> None:
        project = await both.project()
        files = yolo() | {"images/val/c.png": png(3), "labels/val/lost.txt": LINE, "notes.txt": b"nice"}
        done = await both.run_import(project, files)
        plan = done.plan
        assert (plan.image_count, plan.labelled_count, plan.label_file_count) == (3, 2, 3)
        assert list(plan.unlabelled.paths) == ["images/val/c.png"]
        assert list(plan.without_image.paths) == ["labels/val/lost.txt"]
        assert list(plan.lists.paths) == ["data.yaml"]
        assert [(left.reason, list(left.files.paths)) for left in plan.left] == [("not_labels", ["notes.txt"])]
        (class_list,) = plan.class_lists
        assert (dict(class_list.names), list(class_list.folders)) == (
            {0: "cat", 1: "dog"},
            ["labels/train", "labels/val"],
        )
        assert [(one.name, one.source_id) for one in plan.classes] == [("cat", "0"), ("dog", "1")]
        assert dict(plan.split_counts) == {"train": 1, "val": 2}
        assert await both.stub.GetImport(GetImportRequest(name=done.name)) == done
        listed = await both.stub.ListImports(ListImportsRequest(parent=project.name))
        assert not listed.imports[0].HasField("plan")

    async def test_a_plan_alone_imports_nothing_and_needs_no_image(self, both: Server) -> None:
        project = await both.project()
        files = yolo()
        started = await both.start_import(
            project, {name: data for name, data in files.items() if not name.endswith(".png")}, plan_only=True
        )
        first = await both.finish(started.name)
        assert (first.plan.image_count, first.plan.without_image.count) == (0, 2)
        named = [ImportFile(path=name) for name in files if name.endswith(".png")]
        done = await run(both, project, files, [*named, ImportFile(path="x.heic")], plan_only=True)
        assert (done.state, done.format) == (Import.STATE_SUCCEEDED, FORMAT_YOLO)
        assert (done.item_count, done.done_count) == (0, 0)
        assert (done.plan.image_count, done.plan.labelled_count) == (2, 2)
        assert [doubt.code for doubt in done.plan.doubts] == ["PICTURE_NOT_READ"]
        assert await labels(both, project) == {}
        assert await splits(both, project) == {}

    async def test_a_plan_that_stops_is_shown(self, server: Server, project: Project) -> None:
        files = {"a.png": png(1), "a.txt": LINE, "classes.txt": b"cat", "data.yaml": b"names: [dog]"}
        done = await server.run_import(project, files)
        assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "CLASS_LISTS_DIFFER")
        assert [stop.code for stop in done.plan.stops] == ["CLASS_LISTS_DIFFER"]
        shown = await server.run_import(project, files, plan_only=True)
        assert (shown.state, shown.plan.stops) == (Import.STATE_SUCCEEDED, done.plan.stops)

    async def test_a_watch_shows_the_plan_at_its_end(
        self, server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        states = await watched(server, project, monkeypatch)
        assert len(states) > 1
        assert [state.HasField("plan") for state in states] == [False] * (len(states) - 1) + [True]

    async def test_a_watch_reads_the_plan_at_its_end_only(
        self, server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            # The import itself looks at the plan of the one before it.
            if statement.startswith("SELECT") and "import_plans" in statement and "JOIN" not in statement:
                read.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            states = await watched(server, project, monkeypatch)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        assert len(states) > 1
        assert len(read) == 1

    async def test_texts_that_no_message_takes_are_mended(self, both: Server) -> None:
        project = await both.project()
        file = (
            '{"images": [{"id": 1, "file_name": "1.png"}], "annotations": [], '
            '"categories": [{"id": 7, "name": "cell\\u0000\\ud800", "supercategory": "\\ud800"}]}'
        )
        done = await both.run_import(project, {"1.png": png(1), "instances.json": file.encode()})
        assert [one.name for one in done.plan.classes] == ["cell??"]
        assert await labels(both, project) == {"cell??": 0}


async def run(
    server: Server, project: Project, sent: Mapping[str, bytes], unsent: list[ImportFile], **fields: object
) -> Import:
    """Import files of which some are only named; those in both are not sent."""
    named = {file.path for file in unsent}
    sent = {name: data for name, data in sent.items() if name not in named}
    digests = await server.upload(list(sent.values()), project)
    files = [ImportFile(path=path, digest=digest) for path, digest in zip(sent, digests, strict=True)]
    wanted = Import(files=[*files, *unsent], **fields)  # type: ignore[arg-type]
    request = CreateImportRequest(parent=project.name, **{"import": wanted})  # type: ignore[arg-type]
    return await server.finish((await server.stub.CreateImport(request)).name)


class TestFilesThatAreNotSent:
    async def test_they_are_counted_by_their_names(self, server: Server, project: Project) -> None:
        unsent = [ImportFile(path=path) for path in ("b.heic", "c.HEIC", "film.mp4", "boxes.csv")]
        done = await run(server, project, yolo(), unsent)
        assert (done.state, done.outcomes) == (Import.STATE_SUCCEEDED, ImportOutcomes(annotated=1, empty=1))
        counted = {doubt.code: doubt.count for doubt in done.plan.doubts}
        assert counted == {"PICTURE_NOT_READ": 2, "VIDEO_NOT_READ": 1, "OTHER_FORMAT": 1}

    async def test_an_image_or_label_file_must_be_sent(self, server: Server, project: Project) -> None:
        unsent = [ImportFile(path="x.heic"), ImportFile(path="a.JPG"), ImportFile(path="a.txt")]
        wanted = Import(files=unsent)
        request = CreateImportRequest(parent=project.name, **{"import": wanted})  # type: ignore[arg-type]
        assert fields_of(await status_of(server.stub.CreateImport(request))) == [
            "import.files[1].digest",
            "import.files[2].digest",
        ]

    async def test_a_list_may_name_them_too(self, server: Server, project: Project) -> None:
        (digest,) = await server.upload([png(1)], project)
        entries = [{"path": "a.png", "digest": digest}, {"path": "b.heic"}, {"path": "c.heic", "digest": ""}]
        lists = await server.upload(["".join(f"{json.dumps(one)}\n" for one in entries).encode()], project)
        wanted = Import(file_list=lists[0], format=FORMAT_IMAGES)
        request = CreateImportRequest(parent=project.name, **{"import": wanted})  # type: ignore[arg-type]
        done = await server.finish((await server.stub.CreateImport(request)).name)
        assert done.plan.left[0].files.count == 2
        bad = await server.upload([b'{"path": "a.png"}\n'], project)
        request = CreateImportRequest(parent=project.name, **{"import": Import(file_list=bad[0])})  # type: ignore[arg-type]
        failed = await server.finish((await server.stub.CreateImport(request)).name)
        assert reason_of(failed.error) == "BAD_FILE_LIST"


@pytest.mark.parametrize("path", ["a.txt", ".txt", "a/.xml", "a.JPG", ".png", "a.b/c", "a", "x.YAML"])
def test_what_must_be_sent_is_what_is_read(path: str) -> None:
    plan = understand(MappingSource({path: b""}))
    assert checks.is_read(path) == (plan.left.get(path) is not Left.OTHER)


class TestStrict:
    async def test_doubts_are_errors_before_anything_is_saved(self, both: Server) -> None:
        project = await both.project()
        files = yolo(config="train: images/train\nval: images/va\nnames: [cat, dog]\n")
        done = await both.run_import(project, files, strict=True)
        assert (done.state, reason_of(done.error)) == (Import.STATE_FAILED, "DOUBTS")
        assert "EMPTY_SPLIT (1): " in done.error.message
        assert await labels(both, project) == {}
        assert await splits(both, project) == {}
        assert (await both.run_import(project, files)).state == Import.STATE_SUCCEEDED

    async def test_without_doubts_it_is_an_import(self, server: Server, project: Project) -> None:
        done = await server.run_import(project, yolo(), strict=True)
        assert (done.state, done.strict, done.done_count) == (Import.STATE_SUCCEEDED, True, 2)


class TestOutcomes:
    async def test_every_image_is_counted_once(self, both: Server) -> None:
        project = await both.project()
        files = yolo() | {"images/val/c.png": png(3), "images/val/copy.png": png(1), "images/val/d.png": b"x"}
        files |= {"images/val/e.png": png(5), "labels/val/e.txt": b"9 .5 .5 .2 .2", "labels/val/lost.txt": LINE}
        done = await both.run_import(project, files)
        assert done.outcomes == ImportOutcomes(annotated=1, empty=1, unannotated=2, failed=1, repeated=1)
        assert (done.item_count, done.done_count, done.failed_count) == (6, 6, 2)
        assert [(doubt.code, doubt.count, doubt.example) for doubt in done.plan.doubts] == [
            ("SPLIT_CONFLICT", 1, "images/train/a.png"),
            ("REPEATED_IMAGE", 1, "images/val/copy.png"),
        ]

    async def test_pictures_that_are_left_alone_are_no_copies(self, server: Server, project: Project) -> None:
        files = yolo() | {"SegmentationClass/a.png": png(1), "SegmentationObject/a.png": png(1)}
        done = await server.run_import(project, files)
        assert [(left.reason, left.files.count) for left in done.plan.left] == [("mask", 2)]
        assert (list(done.plan.doubts), done.outcomes) == ([], ImportOutcomes(annotated=1, empty=1))

    async def test_a_copy_takes_no_part(self, server: Server, project: Project) -> None:
        files = yolo() | {"images/val/z.png": png(1), "labels/val/z.txt": LINE}
        done = await server.run_import(project, files)
        assert (done.annotated_count, done.unchanged_count) == (2, 0)
        assert (await splits(server, project))["images/train/a.png"] == "train"

    async def test_coco_without_annotations_makes_no_empty_images(self, server: Server, project: Project) -> None:
        content = json.dumps({"images": [{"id": 1, "file_name": "a.png"}], "categories": []}).encode()
        done = await server.run_import(project, {"a.png": png(1), "test.json": content})
        assert (done.format, done.outcomes) == (FORMAT_COCO, ImportOutcomes(unannotated=1))
        assert [doubt.code for doubt in done.plan.doubts] == ["NO_ANNOTATIONS"]

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        images=st.dictionaries(
            st.sampled_from([f"images/{name}" for name in ("a.png", "b.png", "c.jpg", "sub/a.png", "A.PNG", "x.heic")]),
            st.sampled_from([png(1), png(2), png(3), b"", b"broken"]),
            max_size=6,
        ),
        texts=st.dictionaries(
            st.sampled_from([f"labels/{name}.txt" for name in ("a", "b", "c", "sub/a", "gone")]),
            st.sampled_from([LINE, b"", b"9 .5 .5 .2 .2", b"\xff\xfe\x00", b"0 .5"]),
            max_size=5,
        ),
    )
    async def test_the_counts_add_up(self, server: Server, images: dict[str, bytes], texts: dict[str, bytes]) -> None:
        project = await server.project(f"p{next(NUMBERS)}")
        files = {"classes.txt": b"cat", **images, **texts}
        done = await server.run_import(project, files)
        plan, outcomes = done.plan, done.outcomes
        left = sum(one.files.count for one in plan.left)
        assert plan.image_count + plan.label_file_count + plan.lists.count + left == len(files)
        if done.state == Import.STATE_FAILED:
            assert plan.stops
            return
        fields = (outcomes.annotated, outcomes.empty, outcomes.unannotated, outcomes.failed, outcomes.repeated)
        assert sum(fields) == done.done_count == done.item_count == plan.image_count
        assert done.asset_count == plan.image_count - outcomes.failed - outcomes.repeated
        assert done.failed_count == outcomes.failed + plan.without_image.count

    async def test_a_restart_counts_nothing_twice(
        self, server: Server, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(import_run, "BATCH", 1)
        files = yolo() | {"images/val/c.png": png(3), "labels/val/lost.txt": LINE}
        failing = iter([False, False, True])
        save = import_run._Run._save_batch

        async def sometimes(self: object, *args: object) -> object:
            if next(failing, False):
                raise Aborted("LABELS_CHANGED", "once")
            return await save(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(import_run._Run, "_save_batch", sometimes)
        monkeypatch.setattr("bloomery_annotation.importer.runner._REST", 0.01)
        done = await server.run_import(project, files)
        assert (done.outcomes, done.done_count) == (ImportOutcomes(annotated=1, empty=1, unannotated=1), 3)
        assert (done.failed_count, done.problem_count) == (1, 1)


class TestClasses:
    async def test_labels_come_in_the_order_of_the_files_with_the_unused(self, both: Server) -> None:
        project = await both.project()
        names = [f"class {number}" for number in range(250, 0, -1)]
        files = {"classes.txt": "\n".join(names).encode(), "a.png": png(1), "a.txt": b"249 .5 .5 .2 .2"}
        await both.run_import(project, files)
        found = await labels(both, project)
        assert list(found)[:50] == names[:50]
        listed = await both.stub.ListLabels(ListLabelsRequest(parent=project.name, page_size=1000))
        assert [label.display_name for label in listed.labels] == names


class TestAgain:
    async def test_a_corrected_folder_sets_splits_and_shapes(self, both: Server) -> None:
        project = await both.project()
        await both.run_import(project, yolo(config="names: [cat, dog]\ntrain: x\nvalidate: images/val\n"))
        files = yolo() | {"labels/val/b.txt": b"1 .5 .5 .2 .2"}
        files["data.yaml"] = b"names: [cat, dog]\ntrain: images/val\nval: images/train\n"
        done = await both.run_import(project, files)
        assert await splits(both, project) == {"images/train/a.png": "val", "images/val/b.png": "train"}
        assert (done.split_count, done.annotated_count, done.unchanged_count, done.edited_count) == (2, 1, 1, 0)
        again = await both.run_import(project, files)
        assert (again.split_count, again.annotated_count, again.unchanged_count) == (0, 0, 2)
        assert again.outcomes == ImportOutcomes(annotated=2)

    async def test_an_image_that_lists_leave_out_loses_its_split(self, server: Server, project: Project) -> None:
        files = {name: data for name, data in yolo().items() if name != "data.yaml"} | {"classes.txt": b"cat"}
        await server.run_import(project, files)
        assert await splits(server, project) == {"images/train/a.png": "train", "images/val/b.png": "val"}
        lists = {"val.txt": b"images/train/a.png\n", "train.txt": b"images/train/none.png"}
        done = await server.run_import(project, files | lists)
        assert (await splits(server, project))["images/train/a.png"] == "val"
        assert done.split_count == 2

    async def test_a_folder_without_splits_takes_none_away(self, server: Server, project: Project) -> None:
        await server.run_import(project, yolo())
        flat = {"a.png": png(1), "a.txt": LINE, "b.png": png(2), "b.txt": b"", "classes.txt": b"cat\ndog"}
        done = await server.run_import(project, flat)
        assert done.split_count == 0
        assert await splits(server, project) == {"images/train/a.png": "train", "images/val/b.png": "val"}

    async def test_what_people_changed_stays_and_is_told(self, both: Server) -> None:
        project = await both.project()
        await both.run_import(project, yolo())
        listed = await both.stub.ListAssets(ListAssetsRequest(parent=project.name))
        first, second = sorted(listed.assets, key=lambda asset: asset.display_name)
        wanted = Asset(name=first.name, split="test")
        await both.stub.UpdateAsset(UpdateAssetRequest(asset=wanted, update_mask=FieldMask(paths=["split"])))
        await both.label("mine", project.name)
        name = f"{second.name}/annotationSets/main"
        old = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=name))
        await both.save(second, [box("mine")], etag=old.etag)
        files = yolo() | {"labels/val/b.txt": LINE}
        done = Import()
        for _ in range(2):
            done = await both.run_import(project, files)
            assert codes(done) == {"images/train/a.png": "EDITED_SINCE", "images/val/b.png": "EDITED_SINCE"}
            assert (done.edited_count, done.split_count, done.problem_count) == (2, 0, 2)
            assert await splits(both, project) == {"images/train/a.png": "test", "images/val/b.png": "val"}
        messages = {problem.item: problem.message for problem in done.problems}
        assert "test" in messages["images/train/a.png"]
        assert "train" in messages["images/train/a.png"]
