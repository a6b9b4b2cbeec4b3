"""From an image down to models, and from a model up to its images."""

import json

import pytest

from bloomery import Client
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake


@pytest.fixture(autouse=True)
def settled(fake: Fake, run: Run) -> None:
    """Behind the command line as well, which settles the world first."""
    measured = inference.ModelEvaluation(job="projects/cells/jobs/e1", dataset_version=world.VERSION.name)
    card = inference.ModelCard(model_version=world.MODEL_VERSION, evaluations=[measured], dataset_version=world.VERSION)
    fake.answer("GetModelCard", card)


def test_an_image_leads_to_datasets_and_they_to_models(fake: Fake, client: Client) -> None:
    [version] = client.asset("projects/cells/assets/a1").dataset_versions()
    [made] = version.model_versions()
    assert made.name == world.MODEL_VERSION.name
    [held] = fake.calls["ListDatasetVersions"]
    assert (held.parent, held.filter) == ("projects/cells/datasets/-", f"asset:{world.ASSET.name}")
    [asked] = fake.calls["ListModelVersions"]
    assert (asked.parent, asked.filter) == ("projects/cells/models/-", f"dataset_version:{world.VERSION.name}")
    assert asked.show_inactive
    assert [one.name for one in made.descendants()] == [world.MODEL_VERSION.name]
    assert fake.calls["ListModelVersions"][1].filter == f"base:{world.MODEL_VERSION.name}"


def test_an_image_that_no_version_holds_leads_nowhere(fake: Fake, run: Run) -> None:
    fake.answer("ListDatasetVersions", dataset.ListDatasetVersionsResponse())
    result = run("assets lineage projects/cells/assets/a1 -o json")
    assert json.loads(result.stdout)["datasetVersions"] == []


def test_the_lineage_of_each_is_shown(run: Run) -> None:
    shown = run("models lineage cells-v@1").stdout
    for text in ("j1", "cells-v@1", "255 images", "onnx-fp32", "e1", "base of"):
        assert text in shown
    assert "made" in run("dataset lineage cells-v@1").stdout
    assert "cells-v@1" in run("assets lineage projects/cells/assets/a1").stdout
    assert json.loads(run("models lineage cells-v@1 -o json").stdout)["descendants"]
    assert json.loads(run("dataset lineage cells-v@1 -o json").stdout)["modelVersions"]
