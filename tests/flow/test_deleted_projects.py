"""Nothing of a deleted project shows in another one of the same id, through the real services."""

import uuid
from pathlib import Path

import pytest

from bloomery import Client, Project, errors

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"no checkpoint")
    return path


def made(client: Client, name: str, checkpoint: Path) -> Project:
    """A project with a dataset that has no usable version, and a job that works on no data."""
    project = client.create_project(name)
    with pytest.raises(errors.BloomeryError, match="no label"):
        project.build_dataset("cells-v").wait()
    project.import_model(checkpoint, model="mine", recipe="yolo-detect", name="read").cancel(force=True)
    return project


def test_a_project_of_a_used_id_is_empty(client: Client, checkpoint: Path) -> None:
    name = f"p-{uuid.uuid4().hex[:12]}"
    project = made(client, name, checkpoint)
    with pytest.raises(errors.FailedPrecondition) as refused:
        project.delete()
    assert {"datasets/cells-v", "jobs/read"} <= {one.where for one in refused.value.violations}
    assert project.contents().jobs == ["read"]
    project.delete(cascade=True, cancel=True)
    again = client.create_project(name)
    assert [*again.datasets(), *client.jobs(project=name), *client.models(project=name)] == []
    again.delete()
    made(client, name, checkpoint).delete(cascade=True, cancel=True)


def test_what_is_deleted_one_by_one_lets_its_project_go(client: Client, checkpoint: Path) -> None:
    project = made(client, f"p-{uuid.uuid4().hex[:12]}", checkpoint)
    for job in client.jobs(project=project.id):
        with pytest.raises(errors.JobFailed):
            job.wait()
        job.delete()
    for dataset in project.datasets():
        dataset.delete()
    project.delete(cascade=True)
