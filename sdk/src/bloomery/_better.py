"""Whether one model version is better than another on the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bloomery import errors
from bloomery._session import Session
from bloomery._versions import get_card
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

Answer = Literal["first", "other", "not distinguishable"]
_ANSWERS: dict[int, Answer] = {inference.BETTER_FIRST: "first", inference.BETTER_OTHER: "other"}
COMPARE_SECONDS = 1800.0
_RECORDS = "records"


@dataclass(frozen=True)
class MetricDifference:
    """A figure of two versions on the same images, with the 95 % interval of their difference.

    Attributes:
        metric: its name, such as "test/map50".
        value: of the first version.
        other: of the other one.
        lower: lower end of the interval of `difference`.
        upper: upper end of it.
        answer: which one is better, where the interval does not hold 0.
        needed: about how many images would show such a difference (in four of five cases); 0 where there is none.
    """

    metric: str
    value: float
    other: float
    lower: float
    upper: float
    answer: Answer
    needed: int

    @property
    def difference(self) -> float:
        """How much larger that of the other version is."""
        return self.other - self.value


@dataclass(frozen=True)
class Verdict:
    """Whether one of two versions is better; `proto` has all of it."""

    proto: inference.EvaluationComparison

    def __repr__(self) -> str:
        return f"<Verdict {self.answer}>"

    @property
    def differences(self) -> Sequence[MetricDifference]:
        """Each figure, that which counts most first."""
        return [
            MetricDifference(
                one.metric,
                one.value,
                one.other_value,
                one.lower,
                one.upper,
                _ANSWERS.get(one.better, "not distinguishable"),
                one.needed_image_count,
            )
            for one in self.proto.differences
        ]

    @property
    def answer(self) -> Answer:
        """Which one is better by the figure that counts most."""
        return self.differences[0].answer

    @property
    def better(self) -> str | None:
        """Full name of the better version or variant; None where they cannot be told apart."""
        one = self.proto
        names = {
            "first": one.model_variant or one.model_version,
            "other": one.other_model_variant or one.other_model_version,
        }
        return names.get(self.answer)


async def find_evaluation(
    session: Session, version: str, on: str, split: str, variant: str = ""
) -> training.Job | None:
    """The newest evaluation of a model version on the images of a split, of those that recorded each.

    With the id of a variant, that of this variant.
    """
    name = f"{version}/variants/{variant}" if variant else ""
    for one in (await get_card(session, version)).evaluations:
        is_meant = one.dataset_version == on and one.variant == variant
        if is_meant and any(metric.startswith(f"{split}/") for metric in one.metrics):
            job = await _job(session, one.job)
            if job and job.model_variant == name and _is_fit(job, version):
                return job
    return None


async def compare_evaluations(session: Session, job: str, other: str) -> Verdict:
    """What the server makes of two evaluations."""
    request = inference.CompareEvaluationsRequest(job=job, other=other)
    return Verdict(await session.call(session.models.CompareEvaluations, request, seconds=COMPARE_SECONDS))


async def _job(session: Session, name: str) -> training.Job | None:
    """A job; None where it was deleted."""
    try:
        return await session.call(session.jobs.GetJob, training.GetJobRequest(name=name))
    except errors.NotFound:
        return None


def _is_fit(job: training.Job, version: str) -> bool:
    """Not where another job has the name since, or where it was measured in another way than by default."""
    recorded = any(one.role == _RECORDS for one in job.result.artifacts)
    kind, multi = job.kind == training.JOB_KIND_EVALUATE, job.effective_parameters.fields["multi_label"]
    return kind and recorded and job.model_version == version and not multi.bool_value
