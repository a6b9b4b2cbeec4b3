"""What label files call images, objects and classes is kept, and follows the last import."""

import io
import json
from typing import Any

from PIL import Image

from bloomery.annotation.v1 import (
    Asset,
    GetAnnotationSetRequest,
    Label,
    ListAssetsRequest,
    ListLabelsRequest,
    Project,
    UpdateLabelRequest,
)
from bloomery.vision.v1 import Box
from tests.annotation.folders import codes, counts, voc, voc_folder
from tests.annotation.helpers import Server, png


def coco(*, image: object = 41, annotation: object = 97, name: str = "cam1/1.png", group: str = "vehicle") -> bytes:
    content: dict[str, Any] = {
        "images": [{"id": image, "file_name": name, "width": 64, "height": 48}],
        "annotations": [{"id": annotation, "image_id": image, "category_id": 7, "bbox": [1, 1, 5, 5]}],
        "categories": [{"id": 7, "name": "truck", "supercategory": group}, {"id": 50, "name": "bus"}],
    }
    return json.dumps(content).encode()


async def asset_of(server: Server, project: Project) -> Asset:
    found: Asset
    (found,) = (await server.stub.ListAssets(ListAssetsRequest(parent=project.name))).assets
    return found


async def labels_of(server: Server, project: Project) -> list[tuple[str, str, str]]:
    listed = await server.stub.ListLabels(ListLabelsRequest(parent=project.name))
    return [(one.display_name, one.supercategory, one.source_id) for one in listed.labels]


async def test_names_ids_and_groups_of_coco_are_kept(both: Server) -> None:
    project = await both.project()
    await both.run_import(project, {"pictures/cam1/1.png": png(1), "instances.json": coco()})
    asset = await asset_of(both, project)
    assert (asset.display_name, asset.source_name, asset.source_id) == ("pictures/cam1/1.png", "cam1/1.png", "41")
    drawn = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=f"{asset.name}/annotationSets/main"))
    assert [shape.source_id for shape in drawn.shapes] == ["97"]
    assert await labels_of(both, project) == [("truck", "vehicle", "7"), ("bus", "", "50")]


async def test_what_the_last_import_says_counts(both: Server) -> None:
    project = await both.project()
    files = {"cam1/1.png": png(1), "instances.json": coco()}
    await both.run_import(project, files)
    assert counts(await both.run_import(project, files)) == (0, 0, 1, 0)
    before = await asset_of(both, project)
    again = await both.run_import(project, files | {"instances.json": coco(image=42, annotation=98)})
    assert counts(again) == (0, 1, 0, 0)
    after = await asset_of(both, project)
    assert (after.source_id, after.sequence) == ("42", before.sequence)
    # A folder that says nothing of the image takes nothing away.
    await both.run_import(project, {"cam1/1.png": png(1)})
    assert (await asset_of(both, project)).source_id == "42"


async def test_a_class_gets_the_group_that_it_does_not_have_yet(both: Server) -> None:
    project = await both.project()
    await both.label("truck")
    await both.run_import(project, {"1.png": png(1), "instances.json": coco(name="1.png")})
    assert (await labels_of(both, project))[0] == ("truck", "vehicle", "7")
    mine = Label(name="projects/p/labels/truck", supercategory="mine")
    await both.stub.UpdateLabel(UpdateLabelRequest(label=mine))
    await both.run_import(project, {"1.png": png(1), "instances.json": coco(name="1.png", group="other")})
    assert (await labels_of(both, project))[0] == ("truck", "mine", "7")


async def test_of_two_names_of_one_label_the_first_describes_it(server: Server, project: Project) -> None:
    await server.label("truck")
    for name in ("lorry", "truck"):
        renamed = Label(name="projects/p/labels/truck", display_name=name)
        await server.stub.UpdateLabel(UpdateLabelRequest(label=renamed))
    content = json.loads(coco(name="1.png"))
    content["categories"] = [{"id": 7, "name": "lorry", "supercategory": "a"}, {"id": 8, "name": "truck"}]
    content["categories"][1]["supercategory"] = "b"
    await server.run_import(project, {"1.png": png(1), "instances.json": json.dumps(content).encode()})
    assert await labels_of(server, project) == [("truck", "a", "7")]


async def test_numbers_of_yolo_classes_are_no_ids(server: Server, project: Project) -> None:
    files = {"1.png": png(1), "1.txt": b"0 .5 .5 .2 .2", "data.yaml": b"names: [truck, bus]"}
    await server.run_import(project, files)
    assert await labels_of(server, project) == [("truck", "", ""), ("bus", "", "")]


async def test_ids_that_no_database_takes_are_mended(both: Server) -> None:
    project = await both.project()
    label = coco(image="\0" * 99, annotation="\ud800" + "9" * 99, name="1.png", group="\0" + "g" * 999)
    await both.run_import(project, {"1.png": png(1), "instances.json": label})
    asset = await asset_of(both, project)
    assert asset.source_id == "?" * 64
    drawn = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=f"{asset.name}/annotationSets/main"))
    assert [shape.source_id for shape in drawn.shapes] == ["?" + "9" * 63]
    assert [group for _, group, _ in await labels_of(both, project)] == ["?" + "g" * 199, ""]


async def test_labels_of_a_photograph_on_its_side_are_turned(both: Server) -> None:
    project = await both.project()
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG", exif=exif)
    files = {"a.png": stream.getvalue(), "a.xml": voc("a.png", ("cell", 3.5, 5, 12, 9))}
    done = await both.run_import(project, files)
    assert codes(done) == {"a.png": "TURNED"}
    asset = await asset_of(both, project)
    drawn = await both.stub.GetAnnotationSet(GetAnnotationSetRequest(name=f"{asset.name}/annotationSets/main"))
    assert [shape.box for shape in drawn.shapes] == [Box(x=48 - 9, y=3.5, width=4, height=8.5)]


async def test_the_name_in_a_voc_file_is_kept(server: Server, project: Project) -> None:
    await server.run_import(project, voc_folder(1))
    assert (await asset_of(server, project)).source_name == "000.png"
