"""An image whose label file is gone from a folder, or says nothing of use, keeps its shapes, and that is said."""

from collections.abc import Mapping
from typing import Any

import pytest

from bloomery.annotation.v1 import FORMAT_IMAGES, GetAnnotationSetRequest, Import, ListAssetsRequest, Project
from tests.annotation.folders import codes, voc
from tests.annotation.helpers import Server, box, png
from tests.annotation.test_import_plans import LINE, labels, yolo
from tests.vision.folders import annotation, coco

LABELLED = yolo() | {"labels/val/b.txt": LINE}


def without(files: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name not in names}


async def again(server: Server, files: Mapping[str, bytes], **fields: Any) -> Import:
    """The second import, of the corrected folder."""
    project = await server.project()
    assert not codes(await server.run_import(project, LABELLED))
    done = await server.run_import(project, files, **fields)
    assert done.state == Import.STATE_SUCCEEDED, done.error
    return done


async def test_shapes_whose_label_file_is_gone_stay_and_are_told(both: Server) -> None:
    done = await again(both, without(LABELLED, "labels/val/b.txt"))
    assert codes(done) == {"images/val/b.png": "STALE_SHAPES"}
    assert dict(done.problem_counts) == {"STALE_SHAPES": 1}
    assert (done.outcomes.annotated, done.outcomes.unannotated) == (1, 1)
    assert (await labels(both, Project(name="projects/p")))["cat"] == 2


def stale(done: Import) -> dict[str, str]:
    return {one.item: one.message for one in done.problems if one.code == "STALE_SHAPES"}


@pytest.mark.parametrize("content", [b"5 .5 .5 .2 .2", b"0 .5 .5", b"7 .5 .5 .2 .2\n0 nan .5 .2 .2\n"])
async def test_a_label_file_of_which_no_line_can_be_used_is_named(server: Server, content: bytes) -> None:
    told = stale(await again(server, LABELLED | {"labels/val/b.txt": content}))
    assert list(told) == ["images/val/b.png"]
    assert "labels/val/b.txt" in told["images/val/b.png"]
    assert "no label file" not in told["images/val/b.png"]


async def test_a_label_file_that_is_broken_is_named(both: Server) -> None:
    project = await both.project()
    good = {"a.png": png(1), "a.xml": voc("a.png", ("cat", 1, 1, 9, 9)), "b.png": png(2), "b.xml": voc("b.png")}
    assert not codes(await both.run_import(project, good))
    done = await both.run_import(project, good | {"a.xml": b"<annotation>", "b.xml": b"<annotation>"})
    told = stale(done)
    assert list(told) == ["a.png"], "b.png had no shapes"
    assert "a.xml" in told["a.png"]
    assert dict(done.problem_counts) == {"BROKEN_FILE": 2, "STALE_SHAPES": 1}


async def test_shapes_that_a_copy_of_the_image_brings_are_not_told(server: Server) -> None:
    project = await server.project()
    label = voc("a.png", ("cat", 1, 1, 9, 9))
    files = {"x/a.png": png(1), "x/a.xml": label, "y/a.png": png(1), "y/a.xml": label}
    await server.run_import(project, files)
    assert not stale(await server.run_import(project, files | {"x/a.xml": b"<annotation>"}))


async def test_of_a_broken_list_of_all_no_more_is_said_than_is_known(server: Server) -> None:
    project = await server.project()
    first, second = coco(annotation(bbox=[1, 1, 9, 9]), images=[{"id": 1, "file_name": "a.png"}]), b'{"images": ['
    other = coco(annotation(bbox=[1, 1, 9, 9]), images=[{"id": 1, "file_name": "b.png"}])
    files = {"a.png": png(1), "a.json": first, "b.png": png(2), "b.json": other}
    await server.run_import(project, files)
    told = stale(await server.run_import(project, files | {"b.json": second}))
    assert list(told) == ["b.png"]
    assert "no label file of the folder that can be read" in told["b.png"]


async def test_a_label_file_without_objects_empties_its_image(server: Server) -> None:
    done = await again(server, LABELLED | {"labels/val/b.txt": b""})
    assert not codes(done)
    assert (await labels(server, Project(name="projects/p")))["cat"] == 1


async def test_a_folder_without_any_labels_tells_nothing(server: Server) -> None:
    images = {name: content for name, content in LABELLED.items() if name.endswith(".png")}
    done = await again(server, images, format=FORMAT_IMAGES)
    assert not codes(done)


async def test_shapes_stay_and_are_told_where_no_label_file_is_left(server: Server) -> None:
    done = await again(server, {name: content for name, content in LABELLED.items() if name.endswith(".png")})
    assert codes(done) == {"images/train/a.png": "STALE_SHAPES", "images/val/b.png": "STALE_SHAPES"}


async def test_images_that_had_no_shapes_are_not_told(server: Server) -> None:
    project = await server.project()
    await server.run_import(project, yolo())
    done = await server.run_import(project, without(yolo(), "labels/val/b.txt"))
    assert not codes(done)


async def test_shapes_that_somebody_changed_are_not_an_imports(server: Server) -> None:
    project = await server.project()
    await server.run_import(project, LABELLED)
    (asset,) = (await server.stub.ListAssets(ListAssetsRequest(parent=project.name, filter="split:val"))).assets
    name = f"{asset.name}/annotationSets/main"
    old = await server.stub.GetAnnotationSet(GetAnnotationSetRequest(name=name))
    await server.save(asset, [box("cat")], etag=old.etag)
    done = await server.run_import(project, without(LABELLED, "labels/val/b.txt"))
    assert not codes(done)
