"""A trained model is named, measured, promoted, described and traced, by the command line and the client."""

import json
import time
from pathlib import Path

import pytest

from bloomery import Client, ModelVersion
from tests.flow.conftest import Run

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]
MODEL = "projects/trained/models/cells-v"
DATASET = "projects/trained/datasets/cells-v/versions/1"


def measured(model: ModelVersion) -> list[str]:
    """The jobs that measured a version, once there is one: it is recorded some moments after its job is over."""
    deadline = time.monotonic() + 60
    while not (found := [one.job for one in model.card().proto.evaluations]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_a_model_is_named_measured_and_promoted(run: Run, client: Client, trained: ModelVersion) -> None:
    named = run("models", "alias", "set", trained.name, "candidate", "--reason", "the first")
    assert named.exit_code == 0, named.output
    candidate = f"{MODEL}/versions/candidate"
    assert client.model_version(candidate) == trained
    done = run("evaluate", candidate, "--on", DATASET, "--split", "val", "--name", "measure-named", "--follow")
    assert done.exit_code == 0, done.output
    job = client.job("projects/trained/jobs/measure-named")
    assert job.proto.model_version == trained.name
    assert job.name in measured(trained)
    promotion = ("models", "promote", candidate, "--to", "champion", "--on", DATASET)
    refused = run(*promotion, "--if", "val/map50 > 1", "--if", "val/recall >= 0")
    assert refused.exit_code == 4
    assert "val/map50 > 1" in refused.stderr
    assert "val/recall" not in refused.stderr
    assert job.name in refused.stderr
    promoted = run(*promotion, "--if", "val/map50 >= 0")
    assert promoted.exit_code == 0, promoted.output
    [change] = json.loads(run("models", "alias", "history", f"{MODEL}/aliases/champion", "-o", "json").stdout)
    assert (change["toVersion"], change["figures"][0]["job"]) == (trained.name, job.name)
    for alias in ("candidate", "champion"):
        assert run("models", "alias", "remove", f"{MODEL}/aliases/{alias}", "--yes").exit_code == 0
    job.delete()


def test_a_model_is_described_and_traced_to_its_images(
    run: Run, client: Client, trained: ModelVersion, tmp_path: Path
) -> None:
    text = run("models", "card", trained.name).stdout
    for part in (
        trained.lineage.dataset_hash,
        "| licence | AGPL-3.0-only |",
        "| imgsz | 64 |",
        "onnx-fp32",
        "val/map50",
    ):
        assert part in text
    asset = next(iter(client.project("trained").assets(filter="label:RBC")))
    [version] = asset.dataset_versions()
    assert version.name == DATASET
    assert trained in list(version.model_versions())
    shown = run("assets", "lineage", asset.name)
    assert "cells-v@1" in shown.stdout
    written = trained.download(tmp_path)
    [metadata] = [path for path in written if path.name == "metadata.json"]
    assert json.loads(metadata.read_text())["modelVersion"]["lineage"]["datasetVersion"] == DATASET
    same = trained.compare(trained)
    assert all(one.difference == 0 for one in same.metrics)
    assert same.variants[0].bytes_before
