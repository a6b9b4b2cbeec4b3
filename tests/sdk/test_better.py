"""Whether one version is better than another: which evaluations are taken or made, and what is told."""

import json

import pytest

from bloomery import Client
from bloomery.common.v1 import Artifact
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training
from tests.sdk import world
from tests.sdk.conftest import Run
from tests.sdk.fake import Fake

ON = world.VERSION.name
FIRST, OTHER = (f"{world.MODEL.name}/versions/{number}" for number in (1, 2))


def version(name: str) -> inference.ModelVersion:
    found = inference.ModelVersion()
    found.CopyFrom(world.MODEL_VERSION)
    found.name = name
    return found


def evaluation(
    number: int, name: str, *, records: bool = True, multi_label: bool = False, variant: str = ""
) -> training.Job:
    job = training.Job(
        name=f"projects/cells/jobs/e{number}",
        kind=training.JOB_KIND_EVALUATE,
        state=training.JOB_STATE_SUCCEEDED,
        dataset_version=ON,
        model_version=name,
        model_variant=f"{name}/variants/{variant}" if variant else "",
        result=training.JobResult(artifacts=[Artifact(role="records")] if records else []),
    )
    job.effective_parameters.update({"split": "test", "multi_label": multi_label})
    return job


def answer(
    better: inference.Better.ValueType, *, needed: int = 0, clusters: int = 60
) -> inference.EvaluationComparison:
    one = inference.FigureDifference(
        metric="test/map50",
        value=0.5,
        other_value=0.625,
        lower=0.1,
        upper=0.15,
        better=better,
        needed_image_count=needed,
    )
    return inference.EvaluationComparison(
        model_version=FIRST,
        other_model_version=OTHER,
        dataset_version=ON,
        split="test",
        image_count=60,
        cluster_count=clusters,
        differences=[one],
    )


class Measured:
    """A server that knows some evaluations, and makes those that it is asked for."""

    def __init__(self, fake: Fake) -> None:
        self.jobs: dict[str, training.Job] = {}
        self._fake = fake
        fake.answer("GetModelVersion", lambda request: version(request.name))
        fake.answer("GetModelCard", lambda request: self._card(request.name))
        fake.answer("GetJob", lambda request: self.jobs[request.name])
        fake.answer("CreateJob", self._create)
        fake.answer("CompareEvaluations", answer(inference.BETTER_OTHER))

    def add(self, *jobs: training.Job) -> None:
        """Evaluations, the newest first."""
        self.jobs |= {job.name: job for job in jobs}

    def _card(self, name: str) -> inference.ModelCard:
        found = [job for job in self.jobs.values() if job.model_version == name]
        told = [
            inference.ModelEvaluation(
                job=job.name,
                dataset_version=job.dataset_version,
                metrics={"test/map50": 0.5},
                variant=job.model_variant.rpartition("/")[2],
            )
            for job in found
        ]
        return inference.ModelCard(model_version=version(name), evaluations=told)

    def _create(self, request: training.CreateJobRequest) -> training.Job:
        job = evaluation(90 + len(self._fake.calls["CreateJob"]), request.job.model_version)
        self.add(job)
        accepted = training.Job(name=job.name, model_version=job.model_version, state=training.JOB_STATE_RUNNING)
        measuring = world.event(1, progress=training.Progress(phase="measuring"))
        events = [measuring, world.state(2, training.JOB_STATE_SUCCEEDED)]
        self._fake.script("WatchJob", world.watched(accepted, events))
        return accepted


@pytest.fixture
def measured(fake: Fake, run: Run) -> Measured:
    """Behind the command line as well, which settles the world first."""
    return Measured(fake)


def test_evaluations_that_are_there_are_compared_and_none_is_made(
    fake: Fake, client: Client, measured: Measured
) -> None:
    measured.add(
        evaluation(1, FIRST, multi_label=True),
        evaluation(2, FIRST),
        evaluation(3, FIRST),
        evaluation(4, OTHER, records=False),
        evaluation(5, OTHER),
    )
    found = client.model_version("cells-v@1").better(client.model_version("cells-v@2"), "cells-v@1")
    assert not fake.calls["CreateJob"]
    [request] = fake.calls["CompareEvaluations"]
    assert (request.job, request.other) == ("projects/cells/jobs/e2", "projects/cells/jobs/e5")
    assert (found.answer, found.better) == ("other", OTHER)
    [one] = found.differences
    assert (one.metric, one.difference, one.lower, one.upper) == ("test/map50", 0.125, 0.1, 0.15)


def test_those_that_are_missing_are_made(fake: Fake, client: Client, measured: Measured) -> None:
    measured.add(evaluation(1, FIRST))
    told: list[str] = []
    other = client.model_version("cells-v@2")
    client.model_version("cells-v@1").better(
        other, "cells-v@1", split="test", progress=lambda one: told.append(one.phase)
    )
    assert told == ["cells-v@2: measuring", "comparing"]
    [made] = fake.calls["CreateJob"]
    assert (made.job.model_version, made.job.dataset_version) == (OTHER, ON)
    assert dict(made.job.parameters) == {"split": "test"}
    assert fake.calls["CompareEvaluations"][0].other == "projects/cells/jobs/e91"


def test_variants_are_compared_by_their_own_evaluations(
    fake: Fake, client: Client, run: Run, measured: Measured
) -> None:
    measured.add(
        evaluation(1, FIRST, variant="onnx-int8"), evaluation(2, FIRST), evaluation(3, FIRST, variant="onnx-fp32")
    )
    said = answer(inference.BETTER_OTHER)
    said.other_model_version = FIRST
    said.model_variant, said.other_model_variant = (f"{FIRST}/variants/onnx-{form}" for form in ("int8", "fp32"))
    fake.answer("CompareEvaluations", said)
    version = client.model_version("cells-v@1")
    found = version.better(version, "cells-v@1", variant="onnx-int8", other_variant="onnx-fp32")
    assert found.better == f"{FIRST}/variants/onnx-fp32"
    version.better(version, "cells-v@1", other_variant="onnx-int8")
    line = "models better cells-v@1 cells-v@1 --on cells-v@1 --variant onnx-int8 --other-variant onnx-fp32"
    told = run(line).stdout.splitlines()
    assert told[0].split()[1:3] == ["cells-v@1/onnx-int8", "cells-v@1/onnx-fp32"]
    assert told[-1].startswith("cells-v@1/onnx-fp32 is better")
    jobs = [(one.job[-2:], one.other[-2:]) for one in fake.calls["CompareEvaluations"]]
    assert jobs == [("e1", "e3"), ("e2", "e1"), ("e1", "e3")]


def test_the_better_one_is_told(run: Run, measured: Measured) -> None:
    measured.add(evaluation(1, FIRST), evaluation(2, OTHER))
    result = run("models better cells-v@1 cells-v@2 --on cells-v@1")
    assert result.exit_code == 0, result.output
    [titles, row, told] = result.stdout.splitlines()
    assert titles.split() == ["METRIC", "cells-v@1", "cells-v@2", "DIFFERENCE", "95", "%", "INTERVAL", "BETTER"]
    assert row.split() == ["test/map50", "0.5", "0.625", "+0.125", "+0.1", "to", "+0.15", "cells-v@2"]
    assert told == "cells-v@2 is better with 60 images (by test/map50)"
    found = json.loads(run("models better cells-v@1 cells-v@2 --on cells-v@1 -o json").stdout)
    assert (found["answer"], found["better"], found["imageCount"]) == ("other", OTHER, "60")


@pytest.mark.parametrize(
    ("needed", "clusters", "told"),
    [
        (1411, 60, "not distinguishable with 60 images; about 1,411 would be needed (by test/map50)"),
        (900, 12, "not distinguishable with 60 images in 12 groups; about 900 would be needed (by test/map50)"),
        (0, 60, "not distinguishable with 60 images, whose figures are the same (by test/map50)"),
    ],
)
def test_where_neither_is_better_it_is_told_how_many_images_would_tell(
    fake: Fake, run: Run, measured: Measured, needed: int, clusters: int, told: str
) -> None:
    measured.add(evaluation(1, FIRST), evaluation(2, OTHER))
    fake.answer("CompareEvaluations", answer(inference.BETTER_NOT_DISTINGUISHABLE, needed=needed, clusters=clusters))
    assert run("models better cells-v@1 cells-v@2 --on cells-v@1").stdout.splitlines()[-1] == told
