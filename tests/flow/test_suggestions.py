"""What a job predicts becomes suggestions on images, and what a person accepts of them goes into the next dataset."""

import json
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from bloomery import Client, Job, ModelVersion
from bloomery.vision.v1 import Provenance
from tests.flow.conftest import Run

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
DATASET = "projects/trained/datasets/cells-v/versions/1"


@pytest.fixture
def suggesting(client: Client, trained: ModelVersion) -> Job:
    """A job that has suggested what the version sees on the test images; nothing is suggested otherwise."""
    client.project("trained").delete_suggestions(trained.name)
    model = client.model_version(trained.name)
    return model.predict_dataset(DATASET, split="test", threshold=0.0, suggest=True).wait()


@pytest.fixture
def suggested(client: Client, suggesting: Job) -> ModelVersion:
    """The version that it was done with."""
    return client.model_version(suggesting.proto.model_version)


def test_what_a_job_predicts_is_suggested_beside_what_people_drew(
    client: Client, suggesting: Job, suggested: ModelVersion
) -> None:
    account = MessageToDict(suggesting.proto.result.details)["suggestions"]
    sets = list(suggested.suggestions())
    assert (account["images"], account["saved"], account["failed"]) == (len(sets), len(sets), {})
    assert account["shapes"] == sum(len(one.shapes) for one in sets) > 0
    assert {one.name.split("/")[5] for one in sets} == {account["annotation_set"]} == {"cells-v-1"}
    first = sets[0]
    assert (first.provenance.source, first.provenance.agent) == (Provenance.SOURCE_MODEL, suggested.name)
    assert {shape.model_version for shape in first.shapes} == {suggested.name}
    asset = client.asset(first.name.rpartition("/annotationSets/")[0])
    people = next(one for one in asset.annotations() if one.name.endswith("/main"))
    assert people.provenance.source == Provenance.SOURCE_IMPORT


def test_a_person_accepts_and_rejects_by_the_command_line(client: Client, suggested: ModelVersion, run: Run) -> None:
    first = next(one for one in suggested.suggestions() if len(one.shapes) > 3)
    other = next(number for number, shape in enumerate(first.shapes) if shape.box != first.shapes[0].box)
    places = [other, 0]
    asset = client.asset(first.name.rpartition("/annotationSets/")[0])
    before = len(asset.annotation_set().shapes)
    project = ("--project", "trained")
    listed = json.loads(run("suggestions", "list", "cells-v@1", *project, "-o", "json").stdout)
    assert first.name in {one["name"] for one in listed}
    done = run("suggestions", "accept", asset.id, "cells-v-1", *(f"--shape={place}" for place in places), *project)
    assert done.stdout == f"2 shapes accepted, {len(first.shapes) - 2} left\n", done.output
    done = run("suggestions", "reject", asset.id, "cells-v-1", *project)
    assert done.stdout.endswith("rejected, 0 left\n"), done.output
    shapes = asset.annotation_set().shapes
    assert [shape.model_version for shape in shapes[before:]] == [suggested.name] * 2
    assert list(shapes[before:]) == [first.shapes[place] for place in places]
    done = run("suggestions", "delete", "cells-v@1", "--yes", *project)
    assert done.exit_code == 0, done.output
    assert not list(suggested.suggestions())
    assert len(asset.annotation_set().shapes) == before + 2


def test_images_that_nobody_annotated_are_suggested_on(
    client: Client, trained: ModelVersion, run: Run, pictures: Path
) -> None:
    project = client.project("trained")
    project.delete_suggestions(trained.name)
    (pictures / "data.yaml").write_text("names: [RBC, WBC]\n")
    project.import_folder(pictures)
    options = ("--assets", "unannotated", "--threshold", "0.0", "--suggest", "--project", "trained", "--name", "bare")
    done = run("predict-batch", "cells-v@1", *options)
    assert done.exit_code == 0, done.output
    job = client.job("projects/trained/jobs/bare").wait()
    assert job.proto.project_images.read_sequence > 0
    bare = {asset.name for asset in project.assets(filter="unannotated")}
    seen = {one.name.rpartition("/annotationSets/")[0] for one in client.model_version(trained.name).suggestions()}
    assert seen == bare != set()
