"""Results of jobs as the trainer's feed carries them."""

import asyncio
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    FeedItem,
    Job,
    JobKind,
    JobResult,
    ModelFacts,
    ModelInput,
    VariantFacts,
    VariantParity,
)
from bloomery.vision.v1 import TaskType
from bloomery_kit.objects import ObjectStore
from tests.inference.neighbours import PROJECT_UID

CLASSES = ["cat", "dog"]
DATASET = "projects/pets/datasets/pets-v/versions/1"


def struct(values: Mapping[str, object]) -> Struct:
    return json_format.ParseDict(dict(values), Struct())


def trained(sequence: int, *, model: str = "pets", job_uid: str | None = None, side: int = 32) -> FeedItem:
    """A TRAIN job's result."""
    uid = job_uid or uuid4().hex
    job = Job(
        name=f"projects/pets/jobs/train-{uid[:8]}",
        uid=uid,
        kind=JobKind.JOB_KIND_TRAIN,
        recipe="recipes/yolo-detect",
        dataset_version=DATASET,
        model=f"projects/pets/models/{model}",
        project_uid=PROJECT_UID,
        effective_parameters=struct({"epochs": 3, "seed": 5}),
    )
    result = JobResult(
        job=job.name,
        job_uid=uid,
        sequence=sequence,
        kind=JobKind.JOB_KIND_TRAIN,
        artifacts=[Artifact(role="checkpoint", digest=f"sha256:{'a' * 64}", logical_key=f"p/jobs/{uid}/1/best.pt")],
        metrics={"test/map50": 0.75},
        versions={"torch": "2.15.0"},
        details=struct(
            {
                "task": "detect",
                "classes": CLASSES,
                "input": {"height": side, "width": side, "resize": "letterbox"},
                "dataset": {"version": DATASET, "content_hash": "sha256:data"},
                "base": {"name": "yolov8n.pt", "digest": "sha256:base", "license": "AGPL-3.0-only"},
                "license": "AGPL-3.0-only",
                "recipe": {"name": "recipes/yolo-detect", "version": "1"},
                "seed": 5,
            }
        ),
    )
    return FeedItem(job=job, result=result)


def evaluated(
    sequence: int,
    metrics: Mapping[str, float],
    *,
    version: str = "projects/pets/models/pets/versions/1",
    dataset_version: str = DATASET,
    digest: str = f"sha256:{'a' * 64}",
) -> FeedItem:
    """An EVALUATE job's result about a version whose checkpoint has the digest."""
    uid = uuid4().hex
    job = Job(
        name=f"projects/pets/jobs/evaluate-{uid[:8]}",
        uid=uid,
        kind=JobKind.JOB_KIND_EVALUATE,
        dataset_version=dataset_version,
        model_version=version,
        base_artifact=Artifact(role="checkpoint", digest=digest),
        project_uid=PROJECT_UID,
    )
    result = JobResult(job=job.name, job_uid=uid, sequence=sequence, kind=job.kind, metrics=metrics)
    return FeedItem(job=job, result=result)


def imported(sequence: int, *, model: str = "pets") -> FeedItem:
    """An IMPORT job's result: like a training's, without data."""
    item = trained(sequence, model=model)
    item.job.kind = item.result.kind = JobKind.JOB_KIND_IMPORT
    item.job.dataset_version = ""
    item.job.effective_parameters.Clear()
    del item.result.details["dataset"], item.result.details["seed"]
    item.result.details["base"] = {"name": "mine.pt", "digest": "sha256:mine", "license": ""}
    return item


def with_facts(item: FeedItem, *, decoder: str = "yolo", **facts: Any) -> FeedItem:
    """The same as jobs report it that say what they made in a message of its own."""
    size = ModelInput(height=32, width=32, resize="letterbox")
    fields: dict[str, Any] = {"task": TaskType.TASK_TYPE_DETECT, "classes": CLASSES, "input": size, "decoder": decoder}
    model = ModelFacts(**fields | {"license": "AGPL-3.0-only", "base": "yolov8n.pt", "seed": 5} | facts)
    item.result.model.CopyFrom(model)
    for key in ("task", "classes", "input", "license", "base", "seed"):
        item.result.details.fields.pop(key, None)
    return item


async def with_variant(item: FeedItem, objects: ObjectStore, directory: Path, *, failure: str = "") -> FeedItem:
    """The same with an ONNX variant that the training made, or failed to make, as its last stage."""
    made = await optimized(0, item.job.name, objects, directory)
    item.result.artifacts.extend([] if failure else made.result.artifacts)
    facts = VariantFacts(id="onnx-fp32", format="onnx", precision="fp32", device="cpu", role_prefix="variant/")
    facts.failure = failure
    if not failure:
        facts.parity.CopyFrom(VariantParity(image_count=8, max_geometry_error=0.01, passed=True, limits="0.5 px"))
    item.result.variants.append(facts)
    return item


async def optimized(sequence: int, job: str, objects: ObjectStore, directory: Path) -> FeedItem:
    """An OPTIMIZE job's result, with the files of `directory` in the object store."""
    artifacts = []
    for path in await asyncio.to_thread(files_in, directory):
        name = path.relative_to(directory).as_posix()
        key = f"p/{job.replace('/', '-')}/{name}"
        await objects.put(key, path.read_bytes())
        artifacts.append(
            Artifact(
                role=f"variant/{name}",
                file_name=name,
                logical_key=key,
                digest=f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
                size_bytes=path.stat().st_size,
            )
        )
    result = JobResult(
        job=job,
        job_uid=uuid4().hex,
        sequence=sequence,
        kind=JobKind.JOB_KIND_OPTIMIZE,
        artifacts=artifacts,
        details=struct(
            {
                "device": "cpu",
                "parity": {"image_count": 8, "max_geometry_error": 0.01, "passed": True, "limits": "0.5 px"},
                "latency": {"p50_ms": 1.5, "p95_ms": 2.0, "runs": 20, "threads": 1, "device": "a cpu"},
            }
        ),
    )
    return FeedItem(job=Job(name=job, kind=JobKind.JOB_KIND_OPTIMIZE), result=result)


def files_in(directory: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(file for file in directory.rglob("*") if file.is_file())
