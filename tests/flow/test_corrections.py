"""People correct what is there: shapes, labels and names, by the client and the command line, on the real server."""

import json
import shutil
import uuid
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bloomery import Asset, Client, Project, errors
from bloomery.vision.v1 import Box, Mask, Provenance, Shape, Tag
from bloomery_vision.geometry import Mask as Area
from tests.flow.conftest import Run


def box(label: str, x: float = 10) -> Shape:
    return Shape(label=label, box=Box(x=x, y=10, width=20, height=20))


@pytest.fixture
def asset(project: Project) -> Asset:
    """The first picture, with a cat on it."""
    return next(one for one in project.assets() if one.display_name.endswith("0.png"))


@pytest.fixture
def bare(project: Project) -> Asset:
    """The picture that nobody has annotated."""
    return next(project.assets(filter="unannotated"))


def labels_on(client: Client, asset: Asset) -> list[str]:
    return [shape.label for shape in client.asset(asset.name).annotation_set().shapes]


def test_shapes_take_the_place_of_those_that_were_there(client: Client, asset: Asset) -> None:
    saved = asset.save_annotations([box("big-dog"), box("Big dog", 30)])
    assert [shape.label for shape in saved.shapes] == ["big-dog", "big-dog"]
    assert (saved.revision, saved.provenance.source) == (2, Provenance.SOURCE_HUMAN)
    again = asset.save_annotations([box("CAT")])
    assert (again.revision, labels_on(client, asset)) == (3, ["cat"])


def test_what_sticks_out_is_cut_and_told(run: Run, client: Client, asset: Asset) -> None:
    out = json.dumps([{"label": "cat", "box": {"x": 50, "y": 10, "width": 100, "height": 20}}])
    done = run("annotations", "set", asset.name, "--file", "-", stdin=out)
    assert done.exit_code == 0, done.output
    assert done.stderr
    assert client.asset(asset.name).annotation_set().shapes[0].box.width == 14


def test_an_image_gets_its_first_shapes_and_keeps_an_empty_set(client: Client, bare: Asset) -> None:
    assert not bare.annotation_set().etag
    assert bare.save_annotations([box("cat")]).revision == 1
    assert client.asset(bare.name).save_annotations([]).revision == 2
    assert labels_on(client, bare) == []


def test_nothing_that_somebody_saved_since_is_overwritten(client: Client, asset: Asset) -> None:
    other = client.asset(asset.name)
    asset.annotation_set()
    other.annotations()
    asset.save_annotations([box("cat"), box("cat", 30)])
    with pytest.raises(errors.Conflict):
        other.save_annotations([box("big-dog")])
    assert labels_on(client, asset) == ["cat", "cat"]
    other.annotation_set()
    other.save_annotations([box("big-dog")])
    assert labels_on(client, asset) == ["big-dog"]


@pytest.mark.parametrize("read", ["annotations", "annotation_set"])
def test_nor_where_there_was_nothing_when_it_was_read(client: Client, bare: Asset, read: str) -> None:
    other = client.asset(bare.name)
    getattr(other, read)()
    bare.save_annotations([box("cat")])
    with pytest.raises(errors.Conflict):
        other.save_annotations([box("big-dog")])
    assert labels_on(client, bare) == ["cat"]


def test_all_that_is_wrong_with_shapes_is_told_and_nothing_is_saved(client: Client, asset: Asset) -> None:
    with pytest.raises(errors.NotFound, match="no label 'bird', 'fish'") as caught:
        asset.save_annotations([box("cat"), box("bird"), box("fish")])
    assert caught.value.hint == "the labels are cat, Big dog (big-dog)"
    bad = Shape(label="cat", box=Box(x=1, y=1, width=-1, height=5))
    with pytest.raises(errors.InvalidArgument) as refused:
        asset.save_annotations([bad, Shape(label="cat")])
    assert {violation.where for violation in refused.value.violations} == {
        "annotation_set.shapes[0]",
        "annotation_set.shapes[1]",
    }
    assert labels_on(client, asset) == ["cat"]


def test_shapes_are_edited_in_a_file(run: Run, client: Client, asset: Asset, tmp_path: Path) -> None:
    got = json.loads(run("annotations", "get", asset.name).stdout)
    assert got["shapes"][0]["label"] == "cat"
    got["shapes"][0]["label"] = "Big dog"
    counts = Area.from_array(np.eye(48, 64, dtype=bool)).counts.decode()
    got["shapes"].append({"label": "cat", "mask": {"width": 64, "height": 48, "counts": counts}, "bounds": {"x": 1}})
    (tmp_path / "shapes.json").write_text(json.dumps(got))
    saved = run("annotations", "set", asset.name, "--file", tmp_path / "shapes.json")
    assert saved.exit_code == 0, saved.output
    assert "big-dog" in saved.stdout
    shapes = client.asset(asset.name).annotation_set().shapes
    assert [shape.label for shape in shapes] == ["big-dog", "cat"]
    assert shapes[1].mask == Mask(width=64, height=48, counts=counts.encode())
    shown = json.loads(run("annotations", "show", asset.name, "-o", "json").stdout)
    assert shown[0]["shapes"][1]["mask"]["counts"] == counts


def test_a_file_that_is_older_than_the_set_is_refused(run: Run, client: Client, asset: Asset, tmp_path: Path) -> None:
    file = tmp_path / "shapes.json"
    file.write_text(run("annotations", "get", asset.name).stdout)
    asset.save_annotations([box("big-dog")])
    refused = run("annotations", "set", asset.name, "--file", file)
    assert refused.exit_code == 4
    assert "reason: ETAG_MISMATCH" in refused.stderr
    shapes = json.loads(file.read_text())["shapes"]
    assert run("annotations", "set", asset.name, "--file", "-", stdin=json.dumps(shapes)).exit_code == 0
    assert labels_on(client, asset) == ["cat"]


def test_a_file_of_an_image_without_shapes_does_not_hide_those_that_came_since(
    run: Run, client: Client, bare: Asset
) -> None:
    got = run("annotations", "get", bare.name).stdout
    assert json.loads(got)["shapes"] == []
    bare.save_annotations([box("cat")])
    assert run("annotations", "set", bare.name, "--file", "-", stdin=got).exit_code == 4
    assert labels_on(client, bare) == ["cat"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ("7", "must be a list of shapes"),
        ('{"etag": "x"}', "must be a list of shapes"),
        ('[{"box": {"z": 1}}, 3, {"label": "cat", "tag": {}}]', "shapes[0]"),
        ('[{"box": {"z": 1}}, 3, {"label": "cat", "tag": {}}]', "shapes[1]: must be an object"),
        ('{"shapes": [], "etag": 3}', "etag must be a text"),
        ('{"shapes": [], "name": "projects/p/assets/other/annotationSets/main"}', "take its `name` out"),
    ],
)
def test_a_file_that_is_none_is_told(run: Run, asset: Asset, content: str, told: str) -> None:
    refused = run("annotations", "set", asset.name, "--file", "-", stdin=content)
    assert refused.exit_code == 2
    assert told in " ".join(refused.stderr.replace("│", " ").split())


def test_suggestions_lie_beside_what_people_drew(run: Run, client: Client, asset: Asset) -> None:
    tag = json.dumps([{"label": "cat", "tag": {}}])
    assert run("annotations", "set", asset.name, "--set", "ideas", "--file", "-", stdin=tag).exit_code == 0
    assert client.asset(asset.name).annotation_set("ideas").shapes == [Shape(label="cat", tag=Tag())]
    assert [len(found.shapes) for found in client.asset(asset.name).annotations()] == [1, 1]


def test_a_label_is_renamed_and_its_shapes_keep_it(run: Run, client: Client, project: Project, asset: Asset) -> None:
    renamed = run("labels", "rename", "Big dog", "Dog", "--project", project.id, "--color", "#123456")
    assert renamed.exit_code == 0, renamed.output
    label = client.label(f"{project.name}/labels/big-dog")
    assert (label.display_name, label.color, label.shape_count) == ("Dog", "#123456", 1)
    with pytest.raises(errors.AlreadyExists):
        label.update(display_name="cat")
    assert label.update().display_name == "Dog"
    assert label.update(color="#654321").refresh().color == "#654321"
    version = project.build_dataset("d", split="100/0/0").wait()
    assert list(version.classes) == ["cat", "Dog"]


def test_a_project_is_renamed(run: Run, client: Client, project: Project) -> None:
    assert run("project", "rename", project.id, "My pets").exit_code == 0
    assert project.refresh().display_name == "My pets"
    assert dict(project.update(labels={"team": "vets"}).proto.labels) == {"team": "vets"}
    assert project.update().display_name == "My pets"


@pytest.mark.real_training
def test_a_project_goes_with_what_was_made_from_it(run: Run, client: Client, project: Project) -> None:
    version = project.build_dataset("d", split="50/50/0").wait()
    job = version.train("yolo-detect", base="scratch", epochs=500, imgsz=32)
    refused = run("project", "delete", project.id, "--cascade", "--yes")
    assert refused.exit_code == 4
    assert "reason: JOBS_ACTIVE" in refused.stderr
    assert job.refresh().state not in {"CANCELLING", "CANCELLED"}
    assert project.contents().dataset_versions == ["d@1"]
    done = run("project", "delete", project.id, "--cascade", "--cancel-jobs", "--yes")
    assert done.exit_code == 0, done.output
    with pytest.raises(errors.NotFound):
        project.refresh()
    assert list(client.jobs(project=project.id)) == []
    assert list(client.datasets(project=project.id)) == []


def test_images_without_labels_are_imported_and_then_labelled(
    run: Run, client: Client, pictures: Path, project: Project
) -> None:
    shutil.rmtree(pictures / "labels")
    (pictures / "data.yaml").unlink()
    (pictures / "notes.docx").touch()
    Image.new("RGB", (64, 48), "white").save(pictures / "images/new.gif")
    Image.new("RGB", (64, 48), "black").save(pictures / "images/new.avif")
    archive = shutil.make_archive(str(pictures), "zip", pictures)
    done = run("import", archive, "--format", "images", "--project", project.id)
    assert done.exit_code == 0, done.output
    assert "1 other file (.docx)" in done.stdout
    new = list(project.assets(filter="name:new"))
    assert sorted(asset.proto.media_type for asset in new) == ["image/avif", "image/gif"]
    new[0].save_annotations([box("cat")])
    assert labels_on(client, new[0]) == ["cat"]


def test_a_folder_that_is_listed_in_a_file_is_imported_as_any_other(
    client: Client, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bloomery._upload.INLINE_FILES", 1)
    done = client.create_project(f"l-{uuid.uuid4().hex[:12]}").import_folder(pictures)
    assert (done.proto.item_count, done.proto.annotated_count, list(done.proto.problems)) == (3, 2, [])


def test_what_is_odd_about_annotations_is_counted_and_told(
    run: Run, client: Client, project: Project, asset: Asset
) -> None:
    asset.save_annotations([box("cat"), box("cat"), Shape(label="cat", box=Box(x=40, y=10, width=1, height=20))])
    project.create_label("bird")
    found = [one.code for one in project.problems()]
    assert sorted(found) == ["DUPLICATE_SHAPE", "TINY_SHAPE", "UNANNOTATED_IMAGE", "UNUSED_LABEL"]
    told = run("annotations", "validate", "--project", project.id, "--limit", "3")
    assert told.exit_code == 0
    assert told.stdout.splitlines()[-1] == "3 images checked: 0 errors, 4 warnings"
    assert [code for code in found if code in told.stdout] == found[:3]
    whole = json.loads(run("annotations", "validate", "--project", project.id, "-o", "json").stdout)
    assert [one["code"] for one in whole["problems"]] == found
    assert (whole["assetCount"], whole["errorCount"], whole["warningCount"]) == ("3", "0", "4")


def test_splits_and_labels_of_images_are_set(run: Run, project: Project) -> None:
    first, *others = sorted(project.assets(), key=lambda asset: asset.display_name)
    done = run("assets", "set", first.name, "--split", "val", "--label", "site=north", "--project", project.id)
    assert (done.exit_code, done.stdout) == (0, "1 image changed\n")
    done = run("assets", "set", "--filter", "split:train", "--split", "test", "--project", project.id)
    assert done.stdout == f"{len(others)} images changed\n"
    run("assets", "set", first.name, "--label", "site=south", "--label", "zoom=2", "--project", project.id)
    [now] = project.assets(filter="split:val")
    assert dict(now.proto.labels) == {"site": "south", "zoom": "2"}
    version = project.build_dataset("d", split="official").wait()
    assert {part.split: part.image_count for part in version.statistics.splits if part.image_count} == {
        "val": 1,
        "test": 1,
    }
    run("assets", "set", first.name, "--split", "none", "--project", project.id)
    assert list(project.assets(filter="split:val")) == []
    with pytest.raises(errors.InvalidArgument, match="split"):
        now.update(split="dev")  # type: ignore[arg-type]
    assert now.update().proto == now.proto


def test_the_server_tells_its_version(run: Run, client: Client) -> None:
    assert client.server_version() == metadata("bloomery-kit")["Version"]
    assert run("version").stdout.splitlines()[1] == f"server  {client.server_version()}"


def test_a_label_is_meant_by_either_name_everywhere(run: Run, project: Project) -> None:
    for name in ("big-dog", "Big dog", "BIG DOG"):
        assert len(list(project.assets(filter=f"label:{name}"))) == 1
        shown = run("labels", "show", name, "--project", project.id)
        assert "big-dog" in shown.stdout
    built = run("dataset", "build", "d", "-p", project.id, "--split", "100/0/0", "--class-map", "CAT=animal")
    assert "animal, Big dog\n" in built.stdout
    assert "shapes kept  3 of the project's 3\n" in built.stdout
    refused = run("assets", "list", "-p", project.id, "--filter", "label:bird")
    assert refused.exit_code == 3
    assert "the labels are cat, Big dog (big-dog)" in refused.stderr
