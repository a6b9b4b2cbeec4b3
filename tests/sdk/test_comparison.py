"""Two model versions side by side."""

import json

import pytest

from bloomery import Client
from bloomery.common.v1 import Artifact
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

DATASETS = world.VERSION.name.rpartition("/")[0]


def card(number: int, map50: float, *, epochs: int, on: int, size: int) -> inference.ModelCard:
    version = inference.ModelVersion()
    version.CopyFrom(world.MODEL_VERSION)
    version.name = f"{world.MODEL.name}/versions/{number}"
    version.metrics["test/map50"] = map50
    version.lineage.dataset_version = f"{DATASETS}/{on}"
    version.lineage.parameters.update({"epochs": epochs, "imgsz": 320})
    version.variants[0].artifacts.append(Artifact(size_bytes=size))
    return inference.ModelCard(model_version=version, dataset_version=dataset.DatasetVersion(name=f"{DATASETS}/{on}"))


@pytest.fixture(autouse=True)
def cards(fake: Fake, run: Run) -> None:
    """Behind the command line as well, which settles the world first."""
    first, second = card(1, 0.5, epochs=3, on=1, size=100), card(2, 0.75, epochs=9, on=2, size=300)
    old = inference.ModelEvaluation(dataset_version=f"{DATASETS}/2", metrics={"test/map50": 0.5})
    new = inference.ModelEvaluation(dataset_version=f"{DATASETS}/2", metrics={"test/map50": 0.625})
    first.evaluations.extend([new, old])
    found = {f"{world.MODEL.name}/versions/{number}": one for number, one in ((1, first), (2, second))}
    fake.answer("GetModelVersion", lambda request: found[request.name].model_version)
    fake.answer("GetModelCard", lambda request: found[request.name])
    fake.answer(
        "CompareDatasetVersions",
        dataset.CompareDatasetVersionsResponse(name=f"{DATASETS}/1", other=f"{DATASETS}/2", added_count=12),
    )


def test_only_figures_of_the_same_data_are_compared(client: Client) -> None:
    found = client.model_version("cells-v@1").compare(client.model_version("cells-v@2"))
    told = [(one.dataset_version[-1], one.before, one.after, one.difference) for one in found.metrics]
    assert told == [("1", 0.5, None, None), ("2", 0.625, 0.75, 0.125)]
    assert [(one.what, one.before, one.after) for one in found.differences] == [
        ("dataset version", "cells-v@1", "cells-v@2"),
        ("parameter epochs", "3", "9"),
    ]
    assert found.data is not None
    assert found.data.added_count == 12
    [variant] = found.variants
    assert (variant.bytes_before, variant.bytes_after, variant.ms_before) == (100, 300, 81)


def test_versions_from_the_same_data_are_compared_without_asking_about_it(fake: Fake, client: Client) -> None:
    version = client.model_version("cells-v@1")
    assert version.compare(version).data is None
    assert not fake.calls["CompareDatasetVersions"]


def test_a_comparison_is_shown_and_written(run: Run) -> None:
    result = run("models compare cells-v@1 cells-v@2")
    assert result.exit_code == 0, result.output
    assert "+0.125" in result.stdout
    assert "300 B" in result.stdout
    found = json.loads(run("models compare cells-v@1 cells-v@2 -o json").stdout)
    assert found["metrics"][1]["difference"] == 0.125
    assert found["data"]["addedCount"] == "12"
