"""`bloomery import` says how it understands a folder and what became of every file, on the real server."""

import json
import uuid
from pathlib import Path

import pytest
from PIL import Image

from bloomery import Client, Project
from tests.flow.conftest import Run


@pytest.fixture
def empty(client: Client) -> Project:
    """A project without images."""
    return client.create_project(f"e-{uuid.uuid4().hex[:12]}")


def outcomes(client: Client, project: Project) -> dict[str, int]:
    """Of the newest import."""
    newest = next(project.imports())
    return {field.name: count for field, count in client.get_import(newest.name).outcomes.ListFields()}


def test_a_plan_is_shown_and_nothing_imported(run: Run, pictures: Path, empty: Project) -> None:
    Image.new("RGB", (64, 48)).save(pictures / "images/far.jp2")
    (pictures / "labels/lost.txt").write_text("0 .5 .5 .2 .2")
    done = run("import", pictures, "--plan", "--project", empty.id)
    assert done.exit_code == 0, done.output
    rows = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert {title: value.strip() for title, value in rows.items() if title != "name"} == {
        "format": "yolo",
        "images": "3",
        "labelled": "2",
        "not labelled": "1: images/2.png",
        "label files": "3",
        "without image": "1: labels/lost.txt",
        "class lists": "data.yaml (cat, Big dog) for labels",
        "classes": "cat, Big dog",
        "splits": "train 3",
        "split by": "data.yaml: images: train, 3 images",
        "left alone": "pictures of kinds that are not read: 1: images/far.jp2",
    }
    assert "doubt PICTURE_NOT_READ 1: pictures are of kinds that are not read: .jp2" in done.stderr
    assert (list(empty.assets()), list(empty.labels())) == ([], [])


def test_a_plan_tells_why_a_folder_cannot_be_imported(run: Run, pictures: Path, empty: Project) -> None:
    (pictures / "classes.txt").write_text("dog\ncat\n")
    done = run("import", pictures, "--plan", "--project", empty.id)
    assert done.exit_code == 1
    assert "cannot be imported CLASS_LISTS_DIFFER" in done.stderr
    done = run("import", pictures, "--project", empty.id)
    assert done.exit_code == 1
    assert "CLASS_LISTS_DIFFER" in done.stderr


def test_every_image_is_counted_by_what_became_of_it(run: Run, client: Client, pictures: Path, empty: Project) -> None:
    Image.new("RGB", (64, 48)).save(pictures / "images/empty.png")
    (pictures / "labels/empty.txt").touch()
    (pictures / "images/twin.png").write_bytes((pictures / "images/0.png").read_bytes())
    (pictures / "images/broken.png").write_bytes(b"no picture")
    (pictures / "notes.docx").touch()
    done = run("import", pictures, "--project", empty.id)
    assert done.exit_code == 0, done.output
    assert outcomes(client, empty) == {"annotated": 2, "empty": 1, "unannotated": 1, "failed": 1, "repeated": 1}
    for title, value in {
        "images": "6/6",
        "annotated": 2,
        "empty": 1,
        "not annotated": 1,
        "failed": 1,
        "repeated": 1,
    }.items():
        assert f"{title:13}  {value}\n" in done.stdout
    assert "1 other file (.docx)" in done.stdout
    assert done.stderr.count("REPEATED_IMAGE") == 1
    assert "problem NOT_AN_IMAGE 1: images/broken.png" in done.stderr


def test_an_import_that_annotates_nothing_is_no_success(run: Run, pictures: Path, empty: Project) -> None:
    for path in pictures.glob("labels/*.txt"):
        path.rename(path.with_stem(f"x{path.stem}"))
    done = run("import", pictures, "--project", empty.id)
    assert done.exit_code == 1
    assert "no image got an annotation" in done.stderr
    done = run("import", pictures, "--format", "images", "--strict", "--project", empty.id)
    assert (done.exit_code, done.stderr.count("doubt"), done.stderr.count("no image got")) == (0, 0, 0), done.stderr


@pytest.mark.parametrize(
    ("lines", "code"),
    [("7 .5 .5 .2 .2\n", 1), ("7 .5 .5 .2 .2\nrubbish\n", 1), ("0 .5 .5 0 0\n", 1), ("", 0), ("0 .5 .5 .2 .2\n", 0)],
)
def test_an_import_that_loses_every_object_is_no_success_beside_empty_images(
    run: Run, pictures: Path, empty: Project, lines: str, code: int
) -> None:
    (pictures / "labels/0.txt").write_text(lines)
    (pictures / "labels/1.txt").write_text("")
    done = run("import", pictures, "--project", empty.id)
    assert done.exit_code == code, done.output
    assert done.stderr.count("no image got an annotation; the files have some") == code


def test_a_strict_import_takes_doubts_for_errors(run: Run, pictures: Path, empty: Project) -> None:
    Image.new("RGB", (64, 48)).save(pictures / "images/far.jp2")
    done = run("import", pictures, "--strict", "--project", empty.id)
    assert done.exit_code == 1
    assert "PICTURE_NOT_READ" in done.stderr
    assert list(empty.assets()) == []
    assert run("import", pictures, "--strict", "--plan", "--project", empty.id).exit_code == 1
    (pictures / "images/far.jp2").unlink()
    (pictures / "labels/lost.txt").write_text("0 .5 .5 .2 .2")
    assert run("import", pictures, "--strict", "--plan", "--project", empty.id).exit_code == 1
    (pictures / "labels/lost.txt").unlink()
    assert run("import", pictures, "--strict", "--plan", "--project", empty.id).exit_code == 0
    assert run("import", pictures, "--strict", "--project", empty.id).exit_code == 0
    (pictures / "labels/0.txt").write_text("0 .5 .5 .25 .25\nnothing")
    assert run("import", pictures, "--strict", "--project", empty.id).exit_code == 1


def test_a_corrected_folder_repairs_the_project_but_for_what_people_edited(
    run: Run, client: Client, pictures: Path, project: Project
) -> None:
    by_name = {asset.display_name: asset for asset in project.assets()}
    by_name["images/0.png"].save_annotations([])
    (pictures / "data.yaml").write_text("names: [cat, cow]\nval: images\n")
    done = run("import", pictures, "--project", project.id, "-o", "json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["editedCount"], told["splitCount"], told["annotatedCount"]) == ("1", "3", "1")
    assert [(one["code"], one["item"]) for one in told["problems"]] == [
        ("EDITED_SINCE", "images/0.png"),
        ("STALE_LABEL", f"{project.name}/labels/big-dog"),
    ]
    assert {asset.split for asset in project.assets()} == {"val"}
    assert {label.display_name: label.shape_count for label in project.labels()} == {"cat": 1, "Big dog": 0, "cow": 1}
