"""A small finished project behind the fake server: what the commands and handles are shown against."""

from collections.abc import Callable

from google.protobuf.struct_pb2 import Value

from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Artifact, Problem
from bloomery.dataset import v1 as dataset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from bloomery.vision import v1 as vision
from tests.sdk.fake import Fake

PROJECT = annotation.Project(name="projects/cells", display_name="Blood cells", asset_count=364)
LABEL = annotation.Label(name="projects/cells/labels/rbc", display_name="RBC", color="#e6194b", shape_count=4155)
ASSET = annotation.Asset(
    name="projects/cells/assets/a1", display_name="JPEGImages/1.jpg", width=640, height=480, split="train"
)
BOX = vision.Shape(box=vision.Box(x=10, y=20, width=30, height=40), label="RBC", confidence=0.9)
SET = annotation.AnnotationSet(name="projects/cells/assets/a1/annotationSets/main", shapes=[BOX], revision=1)
IMPORT = annotation.Import(
    name="projects/cells/imports/i1",
    display_name="blood-cells",
    format=annotation.FORMAT_VOC,
    state=annotation.Import.STATE_SUCCEEDED,
    item_count=364,
    done_count=364,
    sequence=9,
)
WARNING = Problem(severity=Problem.SEVERITY_WARNING, code="TINY_BOX", message="a tiny box", item=ASSET.name)
ERROR = Problem(
    severity=Problem.SEVERITY_ERROR, code="BOX_OUTSIDE_IMAGE", message="outside", hint="clip it", item=ASSET.name
)
DATASET = dataset.Dataset(name="projects/cells/datasets/cells-v", latest_version=1)
VERSION = dataset.DatasetVersion(
    name="projects/cells/datasets/cells-v/versions/1",
    uid="u1",
    version=1,
    spec=dataset.DatasetSpec(task=vision.TASK_TYPE_DETECT),
    state=dataset.DatasetVersion.STATE_READY,
    classes=["RBC", "WBC"],
    content_hash="sha256:" + "0" * 64,
    statistics=dataset.DatasetStatistics(
        splits=[dataset.SplitStatistics(split="train", image_count=255, shapes={"RBC": 2900, "WBC": 260})]
    ),
    sequence=2,
)
RECIPE = training.Recipe(
    name="recipes/yolo-detect",
    license="AGPL-3.0-only",
    task=vision.TASK_TYPE_DETECT,
    parameters=[
        training.Parameter(
            id="epochs", default_value=Value(number_value=50), minimum=1, maximum=1000, description="Passes."
        ),
        training.Parameter(id="optimizer", choices=["sgd", "adamw"], description="Which."),
    ],
)
JOB = training.Job(
    name="projects/cells/jobs/j1",
    uid="8f1d0c2b",
    kind=training.JOB_KIND_TRAIN,
    recipe=RECIPE.name,
    dataset_version=VERSION.name,
    state=training.JOB_STATE_SUCCEEDED,
    progress=training.Progress(phase="publishing", epoch=2, epochs=2, fraction=1.0, device="cpu"),
    last_sequence=6,
    oldest_sequence=1,
)
GROUP = training.JobGroup(
    name="projects/cells/jobGroups/sweep", job_count=3, state_counts={"RUNNING": 1, "SUCCEEDED": 2}, fraction=0.75
)
VARIANT = inference.ModelVariant(
    name="projects/cells/models/cells-v/versions/1/variants/onnx-fp32",
    state=inference.ModelVariant.STATE_READY,
    parity=inference.Parity(image_count=32, max_score_error=1e-6, passed=True, limits="1 px, 0.01"),
    latency=inference.Latency(p50_ms=81, p95_ms=90, threads=1, device="a CPU"),
    job="projects/cells/jobs/o1",
)
MODEL = inference.Model(name="projects/cells/models/cells-v", latest_version=1)
MODEL_VERSION = inference.ModelVersion(
    name="projects/cells/models/cells-v/versions/1",
    version=1,
    task=vision.TASK_TYPE_DETECT,
    classes=["RBC", "WBC"],
    metrics={"test/map50": 0.91},
    artifacts=[Artifact(role="checkpoint", digest="sha256:" + "c" * 64)],
    lineage=inference.Lineage(
        job=JOB.name, recipe=f"{RECIPE.name} 1", dataset_version=VERSION.name, license="AGPL-3.0-only"
    ),
    variants=[VARIANT],
)
PREDICTION = inference.PredictResponse(
    shapes=[BOX], width=640, height=480, timings=inference.StageTimings(total_ms=93), variant=VARIANT.name
)


def event(sequence: int, **what: object) -> training.JobEvent:
    return training.JobEvent(sequence=sequence, **what)  # type: ignore[arg-type]


def state(sequence: int, to: training.JobState.ValueType, reason: training.Reason | None = None) -> training.JobEvent:
    return event(sequence, state_changed=training.StateChanged(to_state=to, reason=reason))


PREFLIGHT = training.PreflightReported(
    device="cpu",
    batch=16,
    steps_per_epoch=10,
    peak_memory_bytes=3 << 29,
    memory_limit_bytes=24 << 30,
    largest_batch=200,
    seconds_per_step=0.9,
    seconds_per_epoch=9,
)
EVENTS = [
    state(1, training.JOB_STATE_RUNNING),
    event(2, progress=training.Progress(phase="training", epoch=0, epochs=2, device="cpu", eta_seconds=90)),
    event(
        3, metrics=training.MetricsReported(epoch=1, values={"train/box_loss": 2.0, "val/map50": 0.4}, epoch_end=True)
    ),
    event(4, log=training.LogLine(level=training.LogLine.LEVEL_WARNING, message="the base weights are missing")),
    event(
        5, metrics=training.MetricsReported(epoch=2, values={"train/box_loss": 1.0, "val/map50": 0.8}, epoch_end=True)
    ),
    state(6, training.JOB_STATE_SUCCEEDED),
]


def watched(
    job: training.Job, events: list[training.JobEvent]
) -> Callable[[training.WatchJobRequest], list[training.WatchJobResponse]]:
    """A watch that shows a job and then all events after the cursor."""

    def answer(request: training.WatchJobRequest) -> list[training.WatchJobResponse]:
        rest = [one for one in events if one.sequence > request.after_sequence]
        shown = training.WatchJobResponse(snapshot=job)
        return [shown, *(training.WatchJobResponse(sequence=one.sequence, event=one) for one in rest)]

    return answer


def settle(fake: Fake) -> None:
    """Let the fake answer everything about this project."""
    fake.answer("CreateProject", lambda request: annotation.Project(name=f"projects/{request.project_id}"))
    fake.answer("GetProject", PROJECT)
    fake.answer("ListProjects", annotation.ListProjectsResponse(projects=[PROJECT]))
    fake.answer("ListReferences", annotation.ListReferencesResponse())
    fake.answer("CreateLabel", LABEL)
    fake.answer("GetLabel", LABEL)
    fake.answer("ListLabels", annotation.ListLabelsResponse(labels=[LABEL]))
    fake.answer("GetAsset", ASSET)
    fake.answer("ListAssets", annotation.ListAssetsResponse(assets=[ASSET]))
    fake.answer("UpdateProject", PROJECT)
    fake.answer("UpdateLabel", LABEL)
    fake.answer("GetAnnotationSet", SET)
    fake.answer("UpdateAnnotationSet", lambda request: request.annotation_set)
    fake.answer("ListAnnotationSets", annotation.ListAnnotationSetsResponse(annotation_sets=[SET]))
    fake.answer("GetImport", IMPORT)
    fake.answer("ListImports", annotation.ListImportsResponse(imports=[IMPORT]))
    found = annotation.StreamProblemsResponse(problems=[WARNING], warning_count=1, asset_count=364)
    fake.script("StreamProblems", lambda request: [found])
    fake.answer("ListDatasets", dataset.ListDatasetsResponse(datasets=[DATASET]))
    fake.answer("GetDataset", DATASET)
    fake.answer("ListDatasetVersions", dataset.ListDatasetVersionsResponse(dataset_versions=[VERSION]))
    fake.answer("GetDatasetVersion", VERSION)
    fake.answer("CreateDatasetVersion", VERSION)
    fake.answer("ListRecipes", training.ListRecipesResponse(recipes=[RECIPE]))
    fake.answer("GetRecipe", RECIPE)
    fake.answer("ListJobEvents", training.ListJobEventsResponse())
    fake.answer("CreateJob", JOB)
    fake.answer("GetJob", JOB)
    fake.answer("ListJobs", training.ListJobsResponse(jobs=[JOB]))
    fake.answer("GetJobGroup", GROUP)
    fake.answer("CancelJobGroup", GROUP)
    fake.answer("ListJobGroups", training.ListJobGroupsResponse(job_groups=[GROUP]))
    for verb in ("UpdateJob", "CancelJob", "PauseJob", "ResumeJob"):
        fake.answer(verb, JOB)
    fake.script("WatchJob", watched(training.Job(name=JOB.name, state=training.JOB_STATE_QUEUED), EVENTS))
    line = training.LogLine(level=training.LogLine.LEVEL_INFO, source="trainer", message="epoch 1 done")
    fake.answer("GetLogs", training.GetLogsResponse(entries=[training.LogEntry(sequence=4, line=line)]))
    fake.answer("FindModelVersion", MODEL_VERSION)
    fake.answer("ListModels", inference.ListModelsResponse(models=[MODEL]))
    fake.answer("GetModel", MODEL)
    fake.answer("ListModelVersions", inference.ListModelVersionsResponse(model_versions=[MODEL_VERSION]))
    fake.answer("GetModelVersion", MODEL_VERSION)
    fake.answer("GetModelCard", inference.ModelCard(model_version=MODEL_VERSION, dataset_version=VERSION))
    deletion = inference.ModelDeletion(
        model_versions=[MODEL_VERSION.name], model_variants=[VARIANT.name], file_count=5, total_bytes=2048
    )
    fake.answer("PreviewModelDeletion", deletion)
    fake.answer("OptimizeModelVersion", VARIANT)
    fake.answer("GetModelVariant", VARIANT)
    fake.answer("ListModelVariants", inference.ListModelVariantsResponse(model_variants=[VARIANT]))
    fake.answer("Predict", PREDICTION)
