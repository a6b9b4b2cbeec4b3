"""Versions and their variants side by side: which jobs are made, and what is told of them."""

import json

import pytest

from bloomery import Client, errors
from bloomery.common.v1 import Artifact
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

VERSION = world.MODEL_VERSION.name
LATENCY = {"p50_ms": 5.5, "p95_ms": 6.5, "images_per_second": 150.0, "peak_memory_bytes": 100 << 20, "threads": 2}


def variant(name: str, state: str = "READY", device: str = "cpu") -> inference.ModelVariant:
    number = inference.ModelVariant.State.Value(f"STATE_{state}")
    files = [Artifact(role="variant/1/model.onnx", file_name="1/model.onnx", digest=f"sha256:{name}")]
    return inference.ModelVariant(name=f"{VERSION}/variants/{name}", state=number, device=device, artifacts=files)


class Bench:
    """A server with a version that has variants, whose jobs succeed but for those on `broken`."""

    def __init__(self, fake: Fake) -> None:
        self.broken = ""
        self.waits_for: training.Reason | None = None
        self._fake = fake
        self.version = inference.ModelVersion()
        self.version.CopyFrom(world.MODEL_VERSION)
        del self.version.variants[:]
        made = [variant("onnx-fp32"), variant("onnx-int8"), variant("openvino-fp32", "FAILED")]
        self.version.variants.extend([*made, variant("tensorrt-fp16", device="cuda")])
        fake.answer("GetModelVersion", self.version)
        fake.answer("GetModelVariant", lambda asked: variant(asked.name.rpartition("/")[2]))
        fake.answer("CreateJob", self._create)
        fake.answer("GetJob", lambda asked: self.jobs[asked.name])
        self.jobs: dict[str, training.Job] = {}

    @property
    def measured(self) -> list[str]:
        """What jobs were made for."""
        return [request.job.model_variant.rpartition("/")[2] for request in self._fake.calls["CreateJob"]]

    def _create(self, request: training.CreateJobRequest) -> training.Job:
        job = training.Job()
        job.CopyFrom(request.job)
        job.name = f"projects/cells/jobs/e{len(self.jobs)}"
        if self.waits_for:
            job.state = training.JOB_STATE_PENDING
            job.reason.CopyFrom(self.waits_for)
            return job
        failed = bool(self.broken) and job.model_variant.endswith(self.broken)
        job.state = training.JOB_STATE_FAILED if failed else training.JOB_STATE_SUCCEEDED
        if failed:
            job.reason.CopyFrom(training.Reason(code="CONFIG_ERROR", message="no runtime"))
        else:
            job.result.metrics["test/map50"] = 0.875
            job.result.details.update({"latency": LATENCY, "size_bytes": 4 << 20, "images": 6})
        events = [
            world.state(1, training.JOB_STATE_PENDING, training.Reason(code="QUOTA_WAIT")),
            world.event(2, progress=training.Progress(phase="measuring")),
            world.state(3, job.state, job.reason),
        ]
        self.jobs[job.name] = job
        accepted = training.Job()
        accepted.CopyFrom(request.job)
        accepted.name, accepted.state = job.name, training.JOB_STATE_PENDING
        self._fake.script("WatchJob", world.watched(accepted, events))
        return accepted


@pytest.fixture
def bench(fake: Fake, run: Run) -> Bench:
    """Behind the command line as well, which settles the world first."""
    return Bench(fake)


def test_the_version_and_its_ready_variants_are_measured_one_after_the_other(
    fake: Fake, client: Client, bench: Bench
) -> None:
    rows = client.model_version("cells-v@1").benchmark(split="val")
    assert bench.measured == ["", "onnx-fp32", "onnx-int8"]
    jobs = [request.job for request in fake.calls["CreateJob"]]
    assert {job.dataset_version for job in jobs} == {world.VERSION.name}
    assert [dict(job.parameters) for job in jobs] == [{"split": "val", "benchmark": True}] * 3
    assert [(row.model_version, row.variant) for row in rows] == [(VERSION, one) for one in bench.measured]
    last = rows[-1]
    assert (last.latency.p50_ms, last.latency.peak_memory_bytes) == (5.5, 100 << 20)
    assert (last.size_bytes, last.images, last.metrics["test/map50"]) == (4 << 20, 6, 0.875)


def test_on_a_gpu_only_what_is_made_for_it_is_measured(fake: Fake, client: Client, bench: Bench) -> None:
    client.model_version("cells-v@1").benchmark("cells-v@1", device="gpu")
    assert bench.measured == ["", "tensorrt-fp16"]
    assert {request.job.resources.gpus for request in fake.calls["CreateJob"]} == {1}


def test_on_a_device_that_is_not_there_nothing_is_waited_for(fake: Fake, client: Client, bench: Bench) -> None:
    bench.waits_for = training.Reason(code="UNSCHEDULABLE_GPU", message="the job asks for 1 GPUs and the machine has 0")
    with pytest.raises(errors.FailedPrecondition, match="the machine has 0"):
        client.model_version("cells-v@1").benchmark("cells-v@1", device="gpu")
    assert len(fake.calls["CancelJob"]) == len(fake.calls["CreateJob"]) == 1


def test_the_command_shows_one_table(run: Run, bench: Bench) -> None:
    result = run("benchmark cells-v@1 cells-v@1 --on cells-v@1")
    assert result.exit_code == 0, result.output
    titles, *rows = [line.split() for line in result.stdout.splitlines()]
    assert titles[:6] == ["MODEL", "SIZE", "P50", "MS", "P95", "MS"]
    assert "test/map50" in titles
    assert [row[0] for row in rows] == ["cells-v@1", "cells-v@1/onnx-fp32", "cells-v@1/onnx-int8"] * 2
    assert "0.8750" in rows[0]
    told = result.stderr.splitlines()
    assert told[:3] == [
        "cells-v@1: waiting for other jobs",
        "cells-v@1: measuring",
        "cells-v@1/onnx-fp32: waiting for other jobs",
    ]
    found = json.loads(run("benchmark cells-v@1 -o json").stdout)
    assert [one["variant"] for one in found] == ["", "onnx-fp32", "onnx-int8"]
    assert found[0]["latency"]["p50Ms"] == 5.5


def test_what_fails_says_why_and_ends_nothing(run: Run, bench: Bench) -> None:
    bench.broken = "onnx-fp32"
    result = run("benchmark cells-v@1")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "cells-v@1/onnx-fp32: CONFIG_ERROR: no runtime"
    assert bench.measured == ["", "onnx-fp32", "onnx-int8"]


def test_a_model_that_was_imported_needs_a_dataset_version(client: Client, bench: Bench, run: Run) -> None:
    bench.version.lineage.dataset_version = ""
    with pytest.raises(errors.InvalidArgument, match="was trained on no dataset version"):
        client.model_version("cells-v@1").benchmark()
    assert run("benchmark cells-v@1").exit_code == 4
    assert not bench.measured
