"""Jobs that work on a form of a model: all of its files, in place of its checkpoint."""

from typing import Any

import pytest

from bloomery.common.v1 import Artifact
from bloomery.training.v1 import (
    JOB_KIND_EVALUATE,
    JOB_KIND_OPTIMIZE,
    CreateJobRequest,
    DeleteJobRequest,
    Job,
)
from tests.trainer.bench import reason_of
from tests.trainer.hand import Hand
from tests.trainer.moves import cancel
from tests.trainer.neighbours import DATASET, PROJECT_UID
from tests.trainer.test_holding import WEIGHTS
from tests.trainer.test_jobs_api import violations

MODEL = "projects/cells/models/m/versions/1"
FILES = {"1/model.onnx": b"a graph", "manifest.json": b"{}", "config.pbtxt": b"{}"}


def artifact(name: str, content: bytes) -> Artifact:
    key = f"{PROJECT_UID}/jobs/other/1/variant/{name.encode().hex() or 0}"
    return Artifact(digest=f"sha256:{content.hex():0>64}", size_bytes=len(content), file_name=name, logical_key=key)


def wish(**fields: Any) -> CreateJobRequest:
    given: dict[str, Any] = {
        "kind": JOB_KIND_EVALUATE,
        "recipe": "recipes/scripted",
        "dataset_version": DATASET,
        "model_version": MODEL,
        "model_variant": f"{MODEL}/variants/onnx-int8",
        "variant_artifacts": [artifact(name, content) for name, content in FILES.items()],
    }
    return CreateJobRequest(parent="projects/cells", job=Job(**given | fields))


async def created(hand: Hand) -> Job:
    for name, content in FILES.items():
        await hand.core.objects.put(artifact(name, content).logical_key, content)
    return await hand.trainer.jobs.CreateJob(wish())


async def test_the_worker_gets_all_files_and_no_checkpoint(hand: Hand) -> None:
    job = await created(hand)
    assert job.model_variant == f"{MODEL}/variants/onnx-int8"
    assert [one.file_name for one in job.variant_artifacts] == list(FILES)
    for one in job.variant_artifacts:
        await hand.core.objects.delete(one.logical_key)
    await hand.settle(1)
    start = (await hand.worker()).start
    assert not start.HasField("base")
    assert start.job.model_variant == job.model_variant
    found = {one.artifact.file_name: await hand.core.objects.get(one.artifact.logical_key) for one in start.variant}
    assert found == FILES


async def test_copies_go_with_the_job(hand: Hand) -> None:
    job = await created(hand)
    kept = [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/input/")]
    assert len(kept) == len(set(FILES.values()))
    await cancel(hand, job)
    await hand.trainer.jobs.DeleteJob(DeleteJobRequest(name=job.name))
    await hand.settle(2)
    assert [stat.key async for stat in hand.core.objects.list(f"{PROJECT_UID}/jobs/{job.uid}/")] == []


async def test_files_that_are_not_there_are_refused(hand: Hand) -> None:
    assert await reason_of(hand.trainer.jobs.CreateJob(wish())) == "INPUT_MISSING"


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"model_variant": ""}, {"job.variant_artifacts", "job.base_artifact"}),
        ({"variant_artifacts": []}, {"job.variant_artifacts"}),
        ({"variant_artifacts": [artifact(f"{n}", b"") for n in range(101)]}, {"job.variant_artifacts"}),
        ({"base_artifact": WEIGHTS}, {"job.base_artifact"}),
        ({"kind": JOB_KIND_OPTIMIZE}, {"job.model_variant"}),
        ({"model_variant": "onnx-int8"}, {"job.model_variant"}),
        ({"model_variant": "projects/cells/models/m/versions/2/variants/onnx-int8"}, {"job.model_variant"}),
        ({"variant_artifacts": [artifact("../passwd", b"")]}, {"job.variant_artifacts[0].file_name"}),
        ({"variant_artifacts": [artifact("/etc/passwd", b"")]}, {"job.variant_artifacts[0].file_name"}),
        ({"variant_artifacts": [artifact("", b"")]}, {"job.variant_artifacts[0].file_name"}),
        ({"variant_artifacts": [artifact("a", b""), artifact("a", b"b")]}, {"job.variant_artifacts[1].file_name"}),
        ({"variant_artifacts": [Artifact(file_name="a")]}, {"job.variant_artifacts[0]"}),
        (
            {"variant_artifacts": [Artifact(file_name="a", digest="sha256:a", logical_key="other/x")]},
            {"job.variant_artifacts[0].logical_key"},
        ),
    ],
)
async def test_everything_wrong_with_a_form_is_told(hand: Hand, fields: dict[str, Any], wrong: set[str]) -> None:
    assert (await violations(hand, wish(**fields))).keys() == wrong
