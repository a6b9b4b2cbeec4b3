"""An image whose label file is gone from a folder keeps its shapes, and that is said."""

from collections.abc import Mapping
from typing import Any

from bloomery.annotation.v1 import FORMAT_IMAGES, GetAnnotationSetRequest, Import, ListAssetsRequest, Project
from tests.annotation.folders import codes
from tests.annotation.helpers import Server, box
from tests.annotation.test_import_plans import LINE, labels, yolo

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
