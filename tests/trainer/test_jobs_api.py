"""What people ask of JobService: recipes, creation with everything checked, lists, logs, artifacts."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2

from bloomery.common.v1 import Artifact
from bloomery.dataset.v1 import DatasetVersion
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_IMPORT,
    JOB_KIND_OPTIMIZE,
    JOB_KIND_PREDICT,
    JOB_KIND_TRAIN,
    AttemptFailure,
    CancelJobRequest,
    CreateJobRequest,
    DeleteJobRequest,
    GetJobRequest,
    GetLogsRequest,
    GetRecipeRequest,
    Job,
    JobEvent,
    ListJobEventsRequest,
    ListJobResultsRequest,
    ListJobsRequest,
    ListRecipesRequest,
    LogLine,
    PreflightReported,
    Reason,
    SamplePrediction,
    SamplesPredicted,
    SignArtifactsRequest,
    UpdateJobRequest,
)
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY, Shape
from tests.trainer.bench import AS_SERVICE, World, failure, reason_of
from tests.trainer.hand import Hand, by_hand, log, metrics
from tests.trainer.neighbours import DATASET, PROJECT_UID, ready_version

OTHERS = "projects/other/datasets/d/versions/1"
WEIGHTS = Artifact(digest="sha256:" + "2" * 64, size_bytes=5, logical_key=f"{PROJECT_UID}/jobs/j/1/checkpoint/2")


def request(*, parameters: dict[str, Any] | None = None, **fields: Any) -> CreateJobRequest:
    defaults: dict[str, Any] = {"kind": JOB_KIND_TRAIN, "recipe": "recipes/scripted", "dataset_version": DATASET}
    job = Job(**defaults | fields)
    job.parameters.update(parameters or {})
    return CreateJobRequest(parent="projects/cells", job=job)


async def violations(hand: Hand, wanted: CreateJobRequest) -> dict[str, str]:
    """Field and description of all violations of a refused creation."""
    status = await failure(hand.trainer.jobs.CreateJob(wanted))
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details), status
    return {violation.field: violation.description for violation in bad.field_violations}


async def test_recipes_are_listed_with_their_parameters(hand: Hand) -> None:
    listed = await hand.trainer.jobs.ListRecipes(ListRecipesRequest())
    got = await hand.trainer.jobs.GetRecipe(GetRecipeRequest(name="recipes/scripted"))
    assert list(listed.recipes) == [got]
    epochs = got.parameters[0]
    assert (epochs.id, epochs.default_value.number_value, epochs.minimum, epochs.maximum) == ("epochs", 2, 1, 1000)
    assert not got.parameters[1].HasField("minimum")
    assert await reason_of(hand.trainer.jobs.GetRecipe(GetRecipeRequest(name="recipes/none"))) == "NOT_FOUND"


async def test_every_default_is_filled_in(hand: Hand) -> None:
    job = await hand.trainer.jobs.CreateJob(request(parameters={"epochs": 7}))
    assert dict(job.parameters) == {"epochs": 7}
    effective = dict(job.effective_parameters)
    assert (effective["epochs"], effective["optimizer"], effective["flip"]) == (7, "sgd", True)
    assert "format" not in effective
    assert (job.model, job.base, job.resources.cpus) == ("projects/cells/models/cells-v", "small.pt", 1)
    assert (job.progress.epochs, job.creator) == (7, "owner")


async def test_all_that_is_wrong_is_said_at_once(hand: Hand) -> None:
    parameters = {"epoch": 3, "epochs": 0, "rate": "fast", "optimizer": "adamw", "flip": 1, "seed": 1.5}
    wanted = request(parameters=parameters, base="huge.pt", deadline_seconds=-1, priority=5000)
    wanted.job_id = "Not An Id"
    found = await violations(hand, wanted)
    assert found.keys() == {
        "job_id",
        "job.base",
        "job.deadline_seconds",
        "job.priority",
        *(f"job.parameters.{name}" for name in parameters),
    }
    assert "did you mean epochs" in found["job.parameters.epoch"]
    assert "between 1 and 1000" in found["job.parameters.epochs"]
    assert "sgd, adam" in found["job.parameters.optimizer"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"recipe": "recipes/scriptd"}, "job.recipe"),
        ({"kind": JOB_KIND_IMPORT}, "job.base_artifact"),
        ({"kind": JOB_KIND_IMPORT}, "job.dataset_version"),
        ({"kind": JOB_KIND_IMPORT}, "job.model"),
        ({"kind": 0}, "job.kind"),
        ({"dataset_version": ""}, "job.dataset_version"),
        ({"dataset_version": OTHERS}, "job.dataset_version"),
        ({"dataset_version": "projects/cells/datasets/cells-v/versions/9"}, "job.dataset_version"),
        ({"kind": JOB_KIND_OPTIMIZE}, "job.base_artifact"),
        ({"kind": JOB_KIND_EVALUATE}, "job.base_artifact"),
        ({"kind": JOB_KIND_EVALUATE}, "job.model_version"),
        ({"kind": JOB_KIND_EVALUATE, "dataset_version": ""}, "job.dataset_version"),
        ({"kind": 99}, "job.kind"),
        ({"kind": JOB_KIND_PREDICT}, "job.model_version"),
        ({"kind": JOB_KIND_PREDICT, "dataset_version": ""}, "job.dataset_version"),
        ({"kind": JOB_KIND_EVALUATE, "model_version": "projects/other/models/m/versions/1"}, "job.model_version"),
        (
            {"kind": JOB_KIND_OPTIMIZE, "base_artifact": Artifact(digest="x", logical_key="other/x")},
            "job.base_artifact.logical_key",
        ),
        ({"model": "models/m"}, "job.model"),
        ({"resources": {"cpus": float("nan")}}, "job.resources.cpus"),
        ({"resources": {"cpus": float("inf")}}, "job.resources.cpus"),
        ({"resources": {"memory_bytes": -1}}, "job.resources.memory_bytes"),
        ({"parameters": {"rate": float("inf")}}, "job.parameters.rate"),
        ({"parameters": {"epochs": float("nan")}}, "job.parameters.epochs"),
        ({"recipe": ""}, "job.recipe"),
        ({"labels": {"k": "v" * 300}}, "job.labels['k']"),
    ],
)
async def test_wrong_inputs_are_refused(hand: Hand, fields: dict[str, Any], field: str) -> None:
    hand.trainer.world.datasets.versions[OTHERS] = ready_version(OTHERS)
    assert field in await violations(hand, request(**fields))


async def test_a_value_that_was_left_out_counts_as_null(hand: Hand) -> None:
    wish = request(parameters={"epochs": None, "optimizer": [None]})
    refused = await violations(hand, wish)
    wish.job.parameters.fields["epochs"].Clear()
    wish.job.parameters.fields["optimizer"].list_value.values[0].Clear()
    assert await violations(hand, wish) == refused
    assert refused.keys() == {"job.parameters.optimizer"}


async def test_optimizing_takes_its_own_parameters(hand: Hand) -> None:
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights")
    fields = {"kind": JOB_KIND_OPTIMIZE, "base_artifact": WEIGHTS}
    job = await hand.trainer.jobs.CreateJob(request(parameters={"format": "onnx"}, **fields))
    assert (dict(job.effective_parameters), job.model) == ({"format": "onnx"}, "")
    assert "job.parameters.epochs" in await violations(hand, request(parameters={"epochs": 1}, **fields))


async def test_an_evaluation_holds_its_dataset_version_and_publishes_no_model(hand: Hand) -> None:
    await hand.core.objects.put(WEIGHTS.logical_key, b"weights")
    model_version = "projects/cells/models/m/versions/3"
    fields = {"kind": JOB_KIND_EVALUATE, "base_artifact": WEIGHTS, "model_version": model_version}
    job = await hand.trainer.jobs.CreateJob(request(parameters={"split": "val"}, **fields))
    assert (dict(job.effective_parameters), job.model, job.model_version) == ({"split": "val"}, "", model_version)
    assert hand.trainer.world.datasets.holders == {(DATASET, f"projects/cells/jobs/{job.uid}")}


async def test_nothing_at_all_is_told_as_the_training_that_it_may_be(hand: Hand) -> None:
    found = await violations(hand, CreateJobRequest(parent="projects/cells"))
    assert found.keys() == {"job.recipe", "job.kind", "job.dataset_version"}
    assert found["job.recipe"] == "is required; there are recipes/scripted"


async def test_a_recipe_is_known_by_its_name_and_by_its_id(hand: Hand) -> None:
    jobs = [await hand.trainer.jobs.CreateJob(request(recipe=name)) for name in ("scripted", "recipes/scripted")]
    assert [job.recipe for job in jobs] == ["recipes/scripted"] * 2
    assert (await hand.trainer.jobs.GetRecipe(GetRecipeRequest(name="scripted"))).name == "recipes/scripted"


async def test_a_dataset_must_be_ready_and_of_the_recipes_task(hand: Hand) -> None:
    building = ready_version()
    building.state = DatasetVersion.STATE_BUILDING
    hand.trainer.world.datasets.versions[DATASET] = building
    assert await reason_of(hand.trainer.jobs.CreateJob(request())) == "DATASET_NOT_READY"
    other = ready_version()
    other.spec.task = TASK_TYPE_CLASSIFY
    hand.trainer.world.datasets.versions[DATASET] = other
    refused = await failure(hand.trainer.jobs.CreateJob(request()))
    assert "recipes/scripted is for detect, " in refused.message
    assert await reason_of(hand.trainer.jobs.CreateJob(request())) == "TASK_MISMATCH"


async def test_an_unknown_project_is_not_found(hand: Hand) -> None:
    wanted = request(dataset_version="projects/none/datasets/d/versions/1")
    wanted.parent = "projects/none"
    assert await reason_of(hand.trainer.jobs.CreateJob(wanted)) == "NOT_FOUND"


async def test_validating_only_stores_nothing(hand: Hand) -> None:
    wanted = request()
    wanted.validate_only = True
    job = await hand.trainer.jobs.CreateJob(wanted)
    assert job.effective_parameters["epochs"] == 2
    listed = await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/-"))
    assert (len(listed.jobs), hand.trainer.world.datasets.holders) == (0, set())


async def test_an_id_is_taken_once_until_its_job_is_deleted(hand: Hand) -> None:
    first = await hand.trainer.create(job_id="mine")
    assert await reason_of(hand.trainer.create(job_id="mine")) == "ALREADY_EXISTS"
    assert await reason_of(hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=first.name))) == "NOT_TERMINAL"
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name=first.name))
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=first.name))
    assert await reason_of(hand.trainer.get(first.name)) == "NOT_FOUND"
    assert (await hand.trainer.create(job_id="mine")).uid != first.uid


async def test_too_many_waiting_jobs_are_refused(world: World) -> None:
    async with by_hand(world, max_pending_per_project=2) as hand:
        for _ in range(2):
            await hand.trainer.create()
        assert await reason_of(hand.trainer.create()) == "TOO_MANY_JOBS"


async def test_a_full_disk_refuses_new_jobs_and_uploads(world: World) -> None:
    async with by_hand(world, min_free_bytes=1 << 30) as hand:
        _, worker = await hand.running()
        hand.launcher.free = 1 << 20
        assert await reason_of(hand.trainer.create()) == "DISK_LOW"
        hand.launcher.free = 1
        assert await reason_of(worker.upload(hand.core, "checkpoint", b"large")) == "DISK_LOW"


async def test_jobs_are_listed_newest_first_by_page_and_filter(hand: Hand) -> None:
    for number in range(5):
        await hand.trainer.create(job_id=f"j{number}", labels={"team": "red" if number % 2 else "blue"})
    await hand.trainer.jobs.CancelJob(CancelJobRequest(name="projects/cells/jobs/j0"))
    await hand.run_pass()

    async def ids(text: str = "", parent: str = "projects/cells") -> list[str]:
        found, token = [], ""
        while True:
            page = await hand.trainer.jobs.ListJobs(
                ListJobsRequest(parent=parent, filter=text, page_size=2, page_token=token)
            )
            assert len(page.jobs) <= 2
            found += [job.name.rpartition("/")[2] for job in page.jobs]
            if not (token := page.next_page_token):
                return found

    assert await ids() == ["j4", "j3", "j2", "j1", "j0"]
    assert await ids(parent="projects/-") == await ids()
    assert await ids(parent="projects/other") == []
    assert await ids("state:CANCELLED") == ["j0"]
    assert await ids("active AND label.team:red") == ["j3", "j1"]
    assert await ids("kind:OPTIMIZE") == []
    assert await ids("model:cells-v AND id:j2") == ["j2"]
    for text, said in (("x:y", "is none of state:STATE, kind:KIND"), ("state:DONE", "is none of state:PENDING")):
        request = ListJobsRequest(parent="projects/-", filter=text)
        assert said in (await failure(hand.trainer.jobs.ListJobs(request))).message


async def test_names_labels_and_priority_can_be_changed(hand: Hand) -> None:
    job = await hand.trainer.create(labels={"a": "1"})
    job.display_name, job.priority = "better", 7
    job.labels["b"] = "2"
    changed = await hand.trainer.jobs.UpdateJob(UpdateJobRequest(job=job))
    assert (changed.display_name, changed.priority, dict(changed.labels)) == ("better", 7, {"a": "1", "b": "2"})
    assert changed.etag != job.etag
    assert await reason_of(hand.trainer.jobs.UpdateJob(UpdateJobRequest(job=job))) == "ETAG_MISMATCH"
    mask = FieldMask(paths=["state"])
    assert (
        "state" in (await failure(hand.trainer.jobs.UpdateJob(UpdateJobRequest(job=changed, update_mask=mask)))).message
    )
    listed = await hand.trainer.jobs.ListJobs(ListJobsRequest(parent="projects/cells", filter="label.b:2"))
    assert len(listed.jobs) == 1


async def test_logs_by_page_tail_and_level(hand: Hand) -> None:
    job, worker = await hand.running()
    for number in range(6):
        level = LogLine.LEVEL_WARNING if number % 3 == 0 else LogLine.LEVEL_INFO
        await worker.report(metrics(0), log(f"a{number}"), log(f"b{number}", level))

    async def texts(**arguments: Any) -> list[str]:
        answer = await hand.trainer.jobs.GetLogs(GetLogsRequest(name=job.name, **arguments))
        token = answer.next_page_token
        found = [entry.line.message for entry in answer.entries]
        if token and not arguments.get("page_token"):
            return found + await texts(**arguments | {"page_token": token})
        return found

    assert (await texts())[:4] == ["begin", "a0", "b0", "a1"]
    assert await texts(page_size=7) == (await texts())[:14]
    assert await texts(tail=2) == ["a5", "b5"]
    assert await texts(minimum_level=LogLine.LEVEL_WARNING) == ["b0", "b3"]
    assert await texts(minimum_level=LogLine.LEVEL_WARNING, tail=1) == ["b3"]


async def test_the_end_of_a_log_of_long_lines_is_no_larger_than_a_message(hand: Hand) -> None:
    job, worker = await hand.running()
    for _ in range(3):
        await worker.report(*[log("x" * 8000)] * 800)
    await worker.report(log("the end"))
    entries = (await hand.trainer.jobs.GetLogs(GetLogsRequest(name=job.name, tail=10_000))).entries
    assert 500 < len(entries) < 2400
    assert entries[-1].line.message == "the end"


async def test_events_by_page_and_filter(hand: Hand) -> None:
    job, worker = await hand.running()
    for number in range(4):
        await worker.report(metrics(number), log("line"))

    async def numbers(**arguments: Any) -> list[int]:
        answer = await hand.trainer.jobs.ListJobEvents(ListJobEventsRequest(parent=job.name, **arguments))
        found = [event.sequence for event in answer.events]
        if answer.next_page_token:
            found += await numbers(**arguments | {"page_token": answer.next_page_token})
        return found

    last = (await hand.trainer.get(job.name)).last_sequence
    assert await numbers(page_size=3) == list(range(1, last + 1))
    assert await numbers(after_sequence=last - 2) == [last - 1, last]
    assert await numbers(filter="metrics") == [last - 7, last - 5, last - 3, last - 1]
    assert await numbers(filter="lifecycle") == [1, 2, 3, 4]
    assert await reason_of(numbers(filter="everything")) == "INVALID_ARGUMENT"
    await worker.report(JobEvent(preflight=PreflightReported(batch=16, largest_batch=40)))
    assert await numbers(filter="lifecycle") == [1, 2, 3, 4, last + 1]
    assert await numbers(filter="samples") == []
    many = [SamplePrediction(shapes=[Shape(label="a")] * 51)] * 17
    await worker.report(JobEvent(samples=SamplesPredicted(epoch=1, samples=many)))
    assert await numbers(filter="samples") == [last + 2]
    listed = await hand.trainer.jobs.ListJobEvents(ListJobEventsRequest(parent=job.name, filter="samples"))
    (kept,) = listed.events
    assert [len(sample.shapes) for sample in kept.samples.samples] == [50] * 16


async def test_a_page_of_large_events_ends_before_it_is_too_large_for_a_message(hand: Hand) -> None:
    job, worker = await hand.running()
    for epoch in range(1, 6):
        large = SamplePrediction(file_name="x" * (5 << 20))
        await worker.report(JobEvent(samples=SamplesPredicted(epoch=epoch, samples=[large])))
    request = ListJobEventsRequest(parent=job.name, filter="samples")
    seen: list[int] = []
    while not seen or request.page_token:
        page = await hand.trainer.jobs.ListJobEvents(request)
        seen += [event.samples.epoch for event in page.events]
        request.page_token = page.next_page_token
    assert seen == [1, 2, 3, 4, 5]


async def test_artifacts_of_a_result_are_signed(hand: Hand) -> None:
    job, worker = await hand.running()
    none = await hand.trainer.jobs.SignArtifacts(SignArtifactsRequest(name=job.name))
    assert list(none.artifacts) == []
    await worker.finish(success=await worker.success(hand.core))
    signed = await hand.trainer.jobs.SignArtifacts(SignArtifactsRequest(name=job.name, roles=["checkpoint"]))
    assert signed.artifacts[0].get.url.startswith("http")
    assert (
        await reason_of(hand.trainer.jobs.SignArtifacts(SignArtifactsRequest(name=job.name, roles=["nothing"])))
        == "NOT_FOUND"
    )


async def test_bad_names_are_refused(hand: Hand) -> None:
    assert await reason_of(hand.trainer.jobs.GetJob(GetJobRequest(name="jobs/1"))) == "INVALID_ARGUMENT"
    assert await reason_of(hand.trainer.get("projects/cells/jobs/none")) == "NOT_FOUND"


async def test_a_result_is_still_in_the_feed_when_its_job_is_deleted(hand: Hand) -> None:
    job, worker = await hand.running()
    await worker.finish(success=await worker.success(hand.core))
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    hand.launcher.ends(0)
    await hand.settle()
    listed = await hand.trainer.jobs.ListJobResults(ListJobResultsRequest(), metadata=AS_SERVICE)
    assert [item.result.job for item in listed.results] == [job.name]
    left = [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/")]
    assert left == [artifact.logical_key for artifact in listed.results[0].result.artifacts]


async def test_reports_of_a_failure_carry_its_reason_unchanged(hand: Hand) -> None:
    job, worker = await hand.running()
    reason = Reason(code="DATA_ERROR", message="broken", hint="fix", retriable=False)
    await worker.finish(failure=AttemptFailure(reason=reason))
    shown = (await hand.trainer.get(job.name)).reason
    assert (shown.code, shown.message, shown.hint, shown.retriable) == ("DATA_ERROR", "broken", "fix", False)
    assert shown.HasField("since_time")
