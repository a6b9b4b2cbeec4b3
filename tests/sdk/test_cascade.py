"""A project goes with all that was made from it, in an order that the services allow, or not at all."""

import asyncio
from collections.abc import Iterable

import pytest
from google.protobuf.empty_pb2 import Empty

from bloomery import AsyncClient, Client, Project, Step, errors
from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Reference
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery_kit import errors as served
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import DropReply, Fake

PROJECT = "projects/cells"


class World:
    """What hangs under a project, kept as the services keep it: what is held cannot go."""

    def __init__(self, fake: Fake) -> None:
        self.jobs = {f"{PROJECT}/jobs/{name}": training.JOB_STATE_SUCCEEDED for name in ("j1", "j2")}
        self.versions = [f"{PROJECT}/models/m/versions/1"]
        self.models = [f"{PROJECT}/models/m"]
        self.deployments = [f"{PROJECT}/deployments/door"]
        self.datasets = [f"{PROJECT}/datasets/d"]
        self.gone: list[str] = []
        """Names of what was deleted, in order."""
        fake.answer("ListJobs", self.list_jobs)
        fake.answer("CancelJob", self.cancel)
        fake.answer(
            "ListModelVersions",
            lambda request: inference.ListModelVersionsResponse(
                model_versions=[inference.ModelVersion(name=name) for name in self.versions]
            ),
        )
        fake.answer(
            "ListModels",
            lambda request: inference.ListModelsResponse(models=[inference.Model(name=name) for name in self.models]),
        )
        fake.answer(
            "ListDeployments",
            lambda request: inference.ListDeploymentsResponse(
                deployments=[inference.Deployment(name=name) for name in self.deployments]
            ),
        )
        fake.answer(
            "ListDatasets",
            lambda request: dataset.ListDatasetsResponse(
                datasets=[dataset.Dataset(name=name) for name in self.datasets]
            ),
        )
        for method in ("DeleteJob", "DeleteDeployment", "DeleteModel", "DeleteDataset", "DeleteProject"):
            fake.answer(method, self.delete)

    def list_jobs(self, request: training.ListJobsRequest) -> training.ListJobsResponse:
        return training.ListJobsResponse(jobs=[training.Job(name=name, state=s) for name, s in self.jobs.items()])

    def cancel(self, request: training.CancelJobRequest) -> training.Job:
        assert request.force
        self.jobs[request.name] = training.JOB_STATE_CANCELLED
        return training.Job(name=request.name, state=training.JOB_STATE_CANCELLED)

    def delete(self, request: training.DeleteJobRequest) -> Empty:
        self.gone.append(request.name)
        self.jobs.pop(request.name, None)
        for kept in (self.deployments, self.models, self.datasets):
            if request.name in kept:
                kept.remove(request.name)
        return Empty()


@pytest.fixture
def made(fake: Fake) -> World:
    world.settle(fake)
    return World(fake)


@pytest.fixture
def project(made: World, client: Client) -> Project:
    return client.project("cells")


def kinds(names: Iterable[str]) -> list[str]:
    return [name.split("/")[-2] for name in names]


def held(by: str) -> served.FailedPrecondition:
    return served.FailedPrecondition("STILL_REFERENCED", f"is needed by {by}")


def test_what_holds_goes_before_what_is_held(made: World, project: Project) -> None:
    steps: list[Step] = []
    project.delete(cascade=True, progress=steps.append)
    assert kinds(made.gone) == ["jobs", "jobs", "deployments", "models", "datasets", "projects"]
    assert steps[1] == Step("deleting jobs", 2, 2)


def test_what_would_go_is_told_by_the_names_that_people_type(made: World, project: Project) -> None:
    made.jobs[f"{PROJECT}/jobs/j2"] = training.JOB_STATE_PAUSED
    found = project.contents()
    assert (found.jobs, found.active_jobs) == (["j1", "j2"], ["j2"])
    assert (found.model_versions, found.dataset_versions) == (["m@1"], ["cells-v@1"])
    assert found.deployments == ["door"]


@pytest.mark.parametrize("state", ["PENDING", "QUEUED", "RUNNING", "PAUSED", "CANCELLING"])
def test_nothing_is_deleted_while_a_job_is_not_over(made: World, project: Project, state: str) -> None:
    made.jobs[f"{PROJECT}/jobs/j2"] = training.JobState.Value(f"JOB_STATE_{state}")
    with pytest.raises(errors.FailedPrecondition, match="1 job not over: j2") as caught:
        project.delete(cascade=True)
    assert caught.value.reason == "JOBS_ACTIVE"
    assert "cancel=True" in caught.value.hint
    assert made.gone == []
    project.delete(cascade=True, cancel=True)
    assert kinds(made.gone)[-1] == "projects"


def test_what_takes_a_moment_to_be_given_back_is_waited_for(fake: Fake, made: World, project: Project) -> None:
    made.jobs[f"{PROJECT}/jobs/j2"] = training.JOB_STATE_RUNNING
    fake.queue("DeleteJob", served.FailedPrecondition("NOT_TERMINAL", "it is CANCELLING"))
    fake.queue("DeleteProject", held("datasets/d@1"))
    project.delete(cascade=True, cancel=True)
    assert kinds(made.gone)[-1] == "projects"


def test_what_somebody_else_deleted_is_as_good(fake: Fake, made: World, project: Project) -> None:
    fake.queue("DeleteModel", served.NotFound("model", "m"))
    fake.queue("DeleteDataset", DropReply())
    project.delete(cascade=True)
    assert kinds(made.gone)[-1] == "projects"


async def test_a_deletion_that_fails_leaves_nothing_running(fake: Fake, made: World, aclient: AsyncClient) -> None:
    made.jobs |= {f"{PROJECT}/jobs/more-{number}": training.JOB_STATE_SUCCEEDED for number in range(20)}
    project = await aclient.project("cells")

    def stumble(step: Step) -> None:
        raise OSError("the terminal is gone")

    before = asyncio.all_tasks()
    with pytest.raises(OSError, match="terminal"):
        await project.delete(cascade=True, progress=stumble)
    assert not asyncio.all_tasks() - before


def test_another_refusal_ends_it(fake: Fake, made: World, project: Project) -> None:
    fake.queue("DeleteDataset", served.PermissionDenied("only administrators"))
    with pytest.raises(errors.PermissionDenied):
        project.delete(cascade=True)
    assert "projects" not in kinds(made.gone)


def test_without_cascade_only_the_project_is_asked_for(fake: Fake, made: World, project: Project) -> None:
    fake.queue("DeleteProject", held("datasets/cells-v@1"))
    with pytest.raises(errors.FailedPrecondition) as caught:
        project.delete()
    assert "cascade=True" in caught.value.hint
    assert made.gone == []


def test_the_command_shows_what_goes_before_it_asks(fake: Fake, run: Run) -> None:
    made = World(fake)
    result = run("project delete cells --cascade")
    assert result.exit_code == 1
    for line in (
        "images            364",
        "dataset versions  cells-v@1",
        "jobs              j1, j2",
        "model versions    m@1",
    ):
        assert line in result.stdout
    assert made.gone == []
    assert run("project delete cells --cascade --yes").exit_code == 0
    assert kinds(made.gone)[-1] == "projects"


def test_the_command_says_which_option_helps(fake: Fake, run: Run) -> None:
    made = World(fake)
    fake.queue("DeleteProject", held("datasets/cells-v@1"))
    refused = run("project delete cells --yes")
    assert refused.exit_code == 4
    assert "needed by datasets/cells-v@1" in refused.stderr
    assert "--cascade" in refused.stderr
    made.jobs[f"{PROJECT}/jobs/j1"] = training.JOB_STATE_RUNNING
    refused = run("project delete cells --cascade --yes")
    assert (refused.exit_code, made.gone) == (4, [])
    assert "--cancel-jobs" in refused.stderr
    assert run("project delete cells --cascade --cancel-jobs --yes").exit_code == 0
    assert fake.calls["DeleteProject"][-1] == annotation.DeleteProjectRequest(name=PROJECT)


def test_the_command_refuses_before_it_asks(fake: Fake, run: Run) -> None:
    world.settle(fake)
    holders = [Reference(title="datasets/cells-v"), Reference(title="datasets/cells-v"), Reference(title="jobs/j1")]
    fake.answer("ListReferences", annotation.ListReferencesResponse(references=holders))
    refused = run("project delete cells")
    assert (refused.exit_code, "Delete cells" in refused.stdout) == (4, False)
    assert "needed by datasets/cells-v, jobs/j1" in refused.stderr
    assert "--cascade" in refused.stderr
    assert "DeleteProject" not in fake.calls


def test_a_long_list_is_cut_and_counted(fake: Fake, run: Run) -> None:
    made = World(fake)
    made.jobs = {f"{PROJECT}/jobs/j{n}": training.JOB_STATE_SUCCEEDED for n in range(25)}
    assert "j9 and 15 more" in run("project delete cells --cascade").stdout


@pytest.mark.parametrize("state", [training.JOB_STATE_RUNNING, training.JOB_STATE_PAUSED])
def test_the_command_does_not_ask_while_a_job_is_not_over(
    fake: Fake, run: Run, state: training.JobState.ValueType
) -> None:
    made = World(fake)
    made.jobs[f"{PROJECT}/jobs/j2"] = state
    refused = run("project delete cells --cascade")
    assert (refused.exit_code, "Delete cells" in refused.stdout) == (4, False)
    assert "jobs not over     j2" in refused.stdout
    assert "1 job not over: j2" in refused.stderr
    assert "--cancel-jobs" in refused.stderr
    assert "Delete cells" in run("project delete cells --cascade --cancel-jobs").stdout
    assert made.gone == []
