"""How good a model version is, measured by jobs."""

from contextlib import suppress
from typing import Generic, Literal, TypeVar

from bloomery import errors
from bloomery._aio.serving import AsyncServing
from bloomery._aio.work import AsyncWork
from bloomery._benchmark import Benchmark, Device, measured_variants
from bloomery._better import Verdict, compare_evaluations, find_evaluation
from bloomery._fields import DatasetVersionFields, ModelVersionFields
from bloomery._jobs import Images, Parameter, applied
from bloomery._means import Means, means
from bloomery._names import parent_of, short
from bloomery._results import Progress, Step, of, unseen
from bloomery._versions import find_dataset_version, get_model_version
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

JobT = TypeVar("JobT", bound=AsyncWork)
Split = Literal["train", "val", "test", "all"]


class AsyncMeasuring(AsyncServing, Generic[JobT]):
    """A model version that jobs measure, and whatever else they do with it."""

    async def evaluate(
        self,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        variant: str = "",
        multi_label: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> JobT:
        """Start measuring it on a dataset version of its project, and return the job; `evaluations` has what it found.

        Classes are matched by name; those that the model lacks count as missed.

        Args:
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images; what the model was trained on flatters it.
            variant: id of the variant that is measured in its place, such as "onnx-int8", by its own runtime.
            multi_label: let one place answer for several classes, as Ultralytics' own validation does.
            name: id of the job; made by the server by default.
            gpus: how many; 0 for the recipe's default.

        Raises:
            NotFound: there is no such dataset version or variant.
            FailedPrecondition: the dataset version is for another task, or the variant is not READY.
        """
        return await self._start(
            self.proto,
            training.JOB_KIND_EVALUATE,
            await self._on(on),
            name=name,
            gpus=gpus,
            variant=variant,
            split=split,
            multi_label=multi_label or None,
        )

    async def benchmark(
        self,
        on: str | DatasetVersionFields = "",
        *,
        split: Split = "test",
        device: Device = "cpu",
        progress: Progress = unseen,
    ) -> list[Benchmark]:
        """Measure it and each of its READY variants anew: accuracy, speed, memory, size.

        One job after the other, so that each is measured alone; times say little while other work runs on the machine.
        What fails has a row that says why.

        Args:
            on: the dataset version, or its name such as "cells-v@1"; the one that it was trained on by default.
            split: whose images; what the model was trained on flatters it.
            device: "cpu" or "gpu"; only variants that are made for it are measured.
            progress: told what is measured, and how far that is.

        Raises:
            InvalidArgument: it was imported, and no dataset version is named.
            NotFound: there is no such dataset version.
            FailedPrecondition: the dataset version is for another task, or the machine has no such device.
        """
        if not on and not self.lineage.dataset_version:
            raise errors.InvalidArgument(
                f"{self.name} was trained on no dataset version", hint="name one to measure on"
            )
        name = await self._on(on or self.lineage.dataset_version)
        rows = []
        for variant in measured_variants(await get_model_version(self._session, self.name), device):
            job = await self._start(
                self.proto,
                training.JOB_KIND_EVALUATE,
                name,
                name="",
                gpus=int(device == "gpu"),
                variant=variant,
                split=split,
                benchmark=True,
            )
            waits = job.proto.reason
            if waits.code.startswith("UNSCHEDULABLE_"):
                await job.cancel()
                raise errors.FailedPrecondition(waits.message, hint="measure on another device")
            with suppress(errors.JobFailed):
                await job.wait(progress=of(_measured(job.proto), progress))
            rows.append(Benchmark(job.proto))
        return rows

    async def better(
        self,
        other: ModelVersionFields,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        variant: str = "",
        other_variant: str = "",
        gpus: int = 0,
        progress: Progress = unseen,
    ) -> Verdict:
        """Tell whether it or another version is better on the same images, or that they cannot be told apart.

        Takes the newest evaluation of each on these images; starts those that are missing, and waits for them.

        Args:
            other: of the same project and task.
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images; what a model was trained on flatters it.
            variant: id of the variant that is measured in its place, such as "onnx-int8".
            other_variant: the same of the other version.
            gpus: how many for an evaluation that has to be made; 0 for the recipe's default.
            progress: told how far the evaluations are that have to be made, each with what it measures.

        Raises:
            NotFound: there is no such dataset version.
            FailedPrecondition: the versions are of different tasks, or the dataset version is for another one.
            JobFailed: an evaluation failed; nothing was computed.
        """
        name = await self._on(on)
        sides: list[tuple[ModelVersionFields, str]] = [(self, variant), (other, other_variant)]
        jobs = [await find_evaluation(self._session, one.name, name, split, form) for one, form in sides]
        # All that are missing are started before the first is waited for.
        kind = training.JOB_KIND_EVALUATE
        started = [
            self._job(found)
            if found
            else await self._start(one.proto, kind, name, name="", gpus=gpus, variant=form, split=split)
            for found, (one, form) in zip(jobs, sides, strict=True)
        ]
        for found, job in zip(jobs, started, strict=True):
            if found is None:
                await job.wait(progress=of(_measured(job.proto), progress))
        progress(Step("comparing"))
        return await compare_evaluations(self._session, started[0].name, started[1].name)

    async def _start(
        self,
        version: inference.ModelVersion,
        kind: training.JobKind.ValueType,
        on: Images,
        how: Means | None = None,
        /,
        *,
        name: str,
        gpus: int,
        suggest: bool = False,
        variant: str = "",
        **parameters: Parameter,
    ) -> JobT:
        """Start a job that applies a model version, or a variant of it, to images."""
        how = how or await means(self._session, version, kind, variant, gpus)
        job = applied(kind, version, on, how, gpus=gpus, **parameters)
        job.suggest = suggest
        request = training.CreateJobRequest(parent=parent_of(version.name, 2), job_id=name, job=job)
        return self._job(await self._session.call(self._session.jobs.CreateJob, request))

    def _job(self, job: training.Job) -> JobT:
        """A handle of a job."""
        raise NotImplementedError

    async def _on(self, on: str | DatasetVersionFields) -> str:
        """The full name of a dataset version of its project."""
        if not isinstance(on, str):
            return on.name
        return (await find_dataset_version(self._session, parent_of(self.name, 2), on)).name


def _measured(job: training.Job) -> str:
    """What an evaluation measures, as people say it."""
    return short(job.model_variant or job.model_version)
