"""A folder that is not of the project is predicted on by a job, and nothing of it stays with the project."""

import json
from pathlib import Path

import pytest

from bloomery import Client, ModelVersion
from tests.flow.conftest import Run

pytestmark = [pytest.mark.real_training, pytest.mark.timeout(600)]


def test_a_folder_is_predicted_on_under_its_paths(
    client: Client, trained: ModelVersion, run: Run, pictures: Path, tmp_path: Path
) -> None:
    before = len(list(client.project("trained").assets()))
    (pictures / "broken.jpg").write_bytes(b"no image")
    options = ("--folder", str(pictures), "--threshold", "0.0", "--to", str(tmp_path / "out"), "--project", "trained")
    done = run("predict-batch", "cells-v@1", *options, "--name", "folder")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    expected = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.??g"))
    assert [line["file_name"] for line in lines] == expected
    assert {line["file_name"]: line["error"]["reason"] for line in lines if "error" in line} == {
        "broken.jpg": "NOT_AN_IMAGE"
    }
    assert all(line["shapes"] for line in lines if "shapes" in line)
    assert len(list(client.project("trained").assets())) == before
    job = client.job("projects/trained/jobs/folder")
    assert job.predicted == {"predicted": len(expected) - 1, "NOT_AN_IMAGE": 1}
    job.delete()
