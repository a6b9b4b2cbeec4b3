"""Jobs whose workers are pods, and what may happen to those."""

from typing import Any

from bloomery.training.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_FAILED,
    JOB_STATE_PAUSED,
    JOB_STATE_QUEUED,
    JOB_STATE_RUNNING,
    JOB_STATE_SUCCEEDED,
    CancelJobRequest,
    GetLogsRequest,
    Job,
    PauseJobRequest,
    ResumeJobRequest,
)
from real_parts.process import free_port
from tests.cluster.conftest import Cluster, Jobs, jobs_of, running_jobs
from tests.trainer.bench import QUICK, World
from tests.trainer.launcher_suite import until
from tests.trainer.test_processes import LONG, epochs, states

SECONDS = 120.0


async def runs(jobs: Jobs, **fields: Any) -> Job:
    """A job that has come through its first epoch."""
    job = await jobs.trainer.create(**{"parameters": LONG} | fields)
    return await jobs.trainer.until(job.name, lambda job: job.progress.epoch >= 1, seconds=SECONDS)


async def reaches(jobs: Jobs, job: Job, state: Any) -> Job:
    return await jobs.trainer.reaches(job.name, state, seconds=SECONDS)


async def codes(jobs: Jobs, job: Job) -> set[str]:
    """The reasons that the job has had."""
    messages = await jobs.trainer.watch(job.name)
    return {message.event.state_changed.reason.code for message in messages}


async def nothing_left(jobs: Jobs) -> None:
    await until(jobs.jobs, lambda found: not found, seconds=SECONDS)
    await until(jobs.pods, lambda found: not found, seconds=SECONDS)


async def test_a_job_runs_to_its_result_and_leaves_nothing(jobs: Jobs) -> None:
    job = await jobs.trainer.create()
    done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
    assert [artifact.role for artifact in done.result.artifacts] == ["checkpoint", "metrics"]
    messages = await jobs.trainer.watch(job.name)
    assert states(messages) == ["PENDING", "QUEUED", "PREPARING", "RUNNING", "SUCCEEDED"]
    await nothing_left(jobs)


async def test_a_pod_that_somebody_deletes_is_followed_from_its_checkpoint(jobs: Jobs) -> None:
    job = await runs(jobs, parameters={"epochs": 40, "pace": 0.2})
    await jobs.delete("pods", "--grace-period=10")
    done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
    assert done.attempt == 2
    assert epochs(await jobs.trainer.watch(job.name)) == list(range(1, 41))
    assert "DELETED_EXTERNALLY" in await codes(jobs, job)


async def test_a_job_that_somebody_deletes_is_tried_again(jobs: Jobs) -> None:
    job = await runs(jobs, parameters={"epochs": 40, "pace": 0.2})
    await jobs.delete("jobs")
    done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
    assert done.attempt == 2
    assert "DELETED_EXTERNALLY" in await codes(jobs, job)


async def test_a_pause_gives_the_place_back_and_a_resume_goes_on(jobs: Jobs) -> None:
    job = await runs(jobs)
    await jobs.trainer.jobs.PauseJob(PauseJobRequest(name=job.name))
    await reaches(jobs, job, JOB_STATE_PAUSED)
    await nothing_left(jobs)
    await jobs.trainer.jobs.ResumeJob(ResumeJobRequest(name=job.name))
    running = await reaches(jobs, job, JOB_STATE_RUNNING)
    assert running.attempt == 2


async def test_a_cancelled_job_leaves_nothing(jobs: Jobs) -> None:
    job = await runs(jobs)
    await jobs.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    await reaches(jobs, job, JOB_STATE_CANCELLED)
    await nothing_left(jobs)


async def test_a_deaf_worker_is_ended(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, policy=QUICK.model_copy(update={"cancel_grace": 1.0})) as jobs:
        job = await jobs.trainer.create("deaf")
        await reaches(jobs, job, JOB_STATE_RUNNING)
        await jobs.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
        await reaches(jobs, job, JOB_STATE_CANCELLED)
        await nothing_left(jobs)


async def test_what_a_pod_printed_that_never_called_reaches_the_jobs_log(world: World, cluster: Cluster) -> None:
    dying = "echo 'ImportError: no module named torch' >&2; exit 3"
    policy = QUICK.model_copy(update={"infra_retries": 0})
    async with jobs_of(world, cluster, policy=policy, command=("sh", "-c", dying)) as jobs:
        job = await jobs.trainer.create()
        done = await reaches(jobs, job, JOB_STATE_FAILED)
        assert done.reason.code == "WORKER_LOST"
        logs = await jobs.trainer.jobs.GetLogs(GetLogsRequest(name=job.name))
        assert "ImportError: no module named torch" in [entry.line.message for entry in logs.entries]


async def test_a_users_error_is_told_without_a_network(jobs: Jobs) -> None:
    job = await jobs.trainer.create("give-up-offline")
    done = await reaches(jobs, job, JOB_STATE_FAILED)
    assert (done.attempt, done.reason.code, done.reason.hint) == (1, "OOM_GPU", "batch=4 fits")


async def test_a_result_that_nobody_was_told_of_is_adopted(jobs: Jobs) -> None:
    job = await jobs.trainer.create("leave-manifest")
    done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
    assert done.attempt == 1


async def test_a_job_that_waits_for_a_gpu_says_so_and_can_be_cancelled(jobs: Jobs) -> None:
    job = await jobs.trainer.create(resources={"gpus": 64})
    waiting = await jobs.trainer.until(job.name, lambda job: job.reason.code == "UNSCHEDULABLE_GPU", seconds=SECONDS)
    assert waiting.state == JOB_STATE_QUEUED
    assert "Insufficient nvidia.com/gpu" in waiting.reason.message
    await jobs.trainer.jobs.CancelJob(CancelJobRequest(name=job.name))
    await reaches(jobs, job, JOB_STATE_CANCELLED)
    await nothing_left(jobs)


async def test_the_queue_timeout_removes_what_was_never_scheduled(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, policy=QUICK.model_copy(update={"queue_timeout": 5.0})) as jobs:
        job = await jobs.trainer.create(resources={"gpus": 64})
        done = await reaches(jobs, job, JOB_STATE_FAILED)
        assert (done.reason.code, "Insufficient" in done.reason.message) == ("UNSCHEDULABLE_GPU", True)
        await nothing_left(jobs)


async def test_an_image_that_never_comes_ends_the_attempt_after_its_grace(world: World, cluster: Cluster) -> None:
    policy = QUICK.model_copy(update={"refusal_grace": 3.0, "retries": 0})
    async with jobs_of(world, cluster, policy=policy, image="localhost:1/bloomery/nothing:here") as jobs:
        job = await jobs.trainer.create()
        await jobs.trainer.until(job.name, lambda job: job.reason.code == "IMAGE_PULL", seconds=SECONDS)
        done = await reaches(jobs, job, JOB_STATE_FAILED)
        assert done.reason.code == "IMAGE_PULL"
        await nothing_left(jobs)


async def test_a_secret_that_is_not_there_fails_the_job(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, environment_secret="nothing") as jobs:
        job = await jobs.trainer.create()
        done = await reaches(jobs, job, JOB_STATE_FAILED)
        assert (done.reason.code, 'secret "nothing" not found' in done.reason.message) == ("CONFIG_ERROR", True)
        await nothing_left(jobs)


async def test_memory_that_ran_out_is_tried_once_more_only(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, command=("sh", "-c", "exec tail /dev/zero")) as jobs:
        job = await jobs.trainer.create()
        done = await reaches(jobs, job, JOB_STATE_FAILED)
        assert (done.attempt, done.reason.code) == (2, "OOM_HOST")


async def test_an_evicted_worker_is_followed_in_the_same_attempt(jobs: Jobs) -> None:
    job = await runs(jobs, parameters={"epochs": 40, "pace": 0.2})
    (pod,) = await jobs.pods()
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    path = f"/api/v1/namespaces/{jobs.cluster.namespace}/pods/{name}/eviction"
    await jobs.cluster.ask("create", "--raw", path, "-f", "-", given=eviction)
    done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
    assert done.attempt == 1
    assert epochs(await jobs.trainer.watch(job.name)) == list(range(1, 41))
    assert "EVICTED" in await codes(jobs, job)


async def test_a_queue_that_takes_the_place_gives_it_back(world: World, cluster: Cluster) -> None:
    async with jobs_of(world, cluster, queue="team") as jobs:
        job = await jobs.trainer.create(parameters={"epochs": 60, "pace": 0.2})
        await jobs.trainer.until(job.name, lambda job: job.reason.code == "QUOTA_WAIT", seconds=SECONDS)
        (manifest,) = await jobs.jobs()

        async def suspend(value: str) -> None:
            name = manifest["metadata"]["name"]
            await cluster.ask("patch", "job", name, "--type=merge", "-p", f'{{"spec":{{"suspend":{value}}}}}')

        most = 0
        await suspend("false")
        await jobs.trainer.until(job.name, lambda job: job.progress.epoch >= 2, seconds=SECONDS)
        await suspend("true")

        async def is_queued() -> bool:
            nonlocal most
            live = [pod for pod in await jobs.pods() if pod["status"]["phase"] in ("Pending", "Running")]
            most = max(most, len(live))
            return (await jobs.trainer.get(job.name)).state == JOB_STATE_QUEUED and not live

        await until(is_queued, bool, seconds=SECONDS)
        await until(lambda: codes_now(jobs, job), lambda code: code == "PREEMPTED", seconds=SECONDS)
        await suspend("false")
        done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
        assert (done.attempt, most) == (1, 1)
        assert epochs(await jobs.trainer.watch(job.name)) == list(range(1, 61))


async def codes_now(jobs: Jobs, job: Job) -> str:
    return (await jobs.trainer.get(job.name)).reason.code


async def test_what_nobody_knows_is_cleared_away(jobs: Jobs) -> None:
    job = await runs(jobs)
    (manifest,) = await jobs.jobs()
    metadata = {
        "name": f"{manifest['metadata']['name']}9",
        "namespace": jobs.cluster.namespace,
        "labels": {**manifest["metadata"]["labels"], "bloomery.dev/attempt": "19"},
    }
    template = manifest["spec"]["template"]
    template["metadata"]["labels"] = {"bloomery.dev/attempt": "19"}
    spec = {"template": template, "backoffLimit": 0}
    stray = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    await jobs.cluster.ask("create", "-f", "-", given=stray)
    await until(jobs.jobs, lambda found: len(found) == 1, seconds=SECONDS)
    assert (await jobs.trainer.get(job.name)).state == JOB_STATE_RUNNING


async def test_a_trainer_that_starts_again_finds_its_workers(world: World, cluster: Cluster) -> None:
    port, installation = free_port(), "again"
    async with running_jobs(world, cluster, worker_port=port, installation=installation) as trainer:
        job = await trainer.create(parameters={"epochs": 60, "pace": 0.2})
        await trainer.until(job.name, lambda job: job.progress.epoch >= 1, seconds=SECONDS)
    async with jobs_of(world, cluster, worker_port=port, installation=installation) as jobs:
        done = await reaches(jobs, job, JOB_STATE_SUCCEEDED)
        assert done.attempt == 1
