"""Jobs, and the model versions that they make.

One module, because each returns the other: a job the version that it made, a version the jobs that apply it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery import errors
from bloomery._aio.serving import AsyncServing
from bloomery._aio.work import AsyncWork
from bloomery._benchmark import Benchmark, Device, measured_variants
from bloomery._better import Verdict, compare_evaluations, find_evaluation
from bloomery._fields import DatasetVersionFields, ModelVersionFields
from bloomery._folder_images import upload_images
from bloomery._jobs import Images, Parameter, applied
from bloomery._labels import asset_filter, class_of
from bloomery._means import Means, means
from bloomery._names import parent_of, short
from bloomery._reproduction import repetition
from bloomery._results import Progress, Step, of, unseen
from bloomery._session import Session
from bloomery._versions import find_dataset_version, get_model_version, recorded_version
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

Split = Literal["train", "val", "test", "all"]


class AsyncJob(AsyncWork):
    """A piece of work."""

    async def wait(self, *, progress: Progress = unseen) -> Self:
        """Wait until it is over.

        Raises:
            JobFailed: it ended FAILED or CANCELLED.
        """
        async for event in self.watch():
            if event.kind == "progress":
                seen = event.proto.progress
                progress(Step(seen.phase, seen.epoch, seen.epochs))
            elif self.reason.code == "QUOTA_WAIT":
                progress(Step("waiting for other jobs"))
        return self.check()

    async def update(
        self,
        *,
        display_name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
    ) -> Self:
        """Change what is given; `labels` takes the place of all that it had.

        Raises:
            InvalidArgument: lists everything that cannot be.
        """
        given = {"display_name": display_name, "labels": labels, "priority": priority}
        paths = [field for field, value in given.items() if value is not None]
        job = training.Job(name=self.name, display_name=display_name or "", labels=labels, priority=priority or 0)
        # An empty mask would not mean nothing.
        if paths:
            request = training.UpdateJobRequest(job=job, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.jobs.UpdateJob, request)
        return self

    async def cancel(self, *, force: bool = False) -> Self:
        """Ask it to stop, after a checkpoint unless `force`; returns at once."""
        request = training.CancelJobRequest(name=self.name, force=force)
        self._proto = await self._session.call(self._session.jobs.CancelJob, request)
        return self

    async def pause(self) -> Self:
        """Ask it to save a checkpoint and give its machine back; returns at once."""
        self._proto = await self._session.call(self._session.jobs.PauseJob, training.PauseJobRequest(name=self.name))
        return self

    async def resume(self) -> Self:
        """Let it go on from its checkpoint."""
        self._proto = await self._session.call(self._session.jobs.ResumeJob, training.ResumeJobRequest(name=self.name))
        return self

    async def delete(self) -> None:
        """Delete it with its events and checkpoints; what was recorded from its result stays.

        Raises:
            FailedPrecondition: it is not over.
        """
        await self._session.delete(self._session.jobs.DeleteJob, training.DeleteJobRequest(name=self.name))

    async def reproduce(self, *, name: str = "") -> "AsyncJob":
        """Start a training with the same recipe, parameters, dataset version, base weights and seed; return its job.

        The code and libraries are those of today: once both are finished, `differences` has what is not the same.

        Args:
            name: id of the new job; made by the server by default.

        Raises:
            InvalidArgument: it is no training, or the recipe does not take its parameters any more.
        """
        recipe = await self._session.call(
            self._session.jobs.GetRecipe, training.GetRecipeRequest(name=self.proto.recipe)
        )
        request = training.CreateJobRequest(
            parent=parent_of(self.name), job_id=name, job=repetition(self.proto, recipe)
        )
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def model_version(self, *, patience: float = 60.0) -> "AsyncModelVersion":
        """The model version that it made, which is recorded soon after the job is over: within `patience` seconds.

        Raises:
            NotFound: none was recorded.
        """
        version = await recorded_version(self._session, self.name, self.proto.uid, patience)
        return AsyncModelVersion(self._session, version)


async def list_jobs(session: Session, parent: str, filter: str = "") -> AsyncIterator[AsyncJob]:
    """The jobs of a project, or of all with the wildcard, newest first."""
    request = training.ListJobsRequest(parent=parent, filter=filter)
    async for page in session.pages(session.jobs.ListJobs, request):
        for job in page.jobs:
            yield AsyncJob(session, job)


class AsyncModelVersion(AsyncServing):
    """A trained model with the proof of where it came from."""

    async def descendants(self) -> AsyncIterator["AsyncModelVersion"]:
        """List the versions that were trained from it, newest first."""
        async for version in list_descendants(self._session, parent_of(self.name, 2), f"base:{self.name}"):
            yield version

    async def evaluate(
        self,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        variant: str = "",
        multi_label: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> AsyncJob:
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
        return await self._applied(
            training.JOB_KIND_EVALUATE,
            on,
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
            job = await self._applied(
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
                await job.wait(progress=of(f"{short(self.name)}{f'/{variant}' * bool(variant)}", progress))
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
            progress: told how far the evaluations are.

        Raises:
            NotFound: there is no such dataset version.
            FailedPrecondition: the versions are of different tasks, or the dataset version is for another one.
            JobFailed: an evaluation failed; nothing was computed.
        """
        name = await self._on(on)
        sides: list[tuple[ModelVersionFields, str]] = [(self, variant), (other, other_variant)]
        jobs = [await find_evaluation(self._session, one.name, name, split, form) for one, form in sides]
        # All that are missing are started before the first is waited for.
        started = [
            AsyncJob(self._session, found) if found else await self._evaluated(*side, name, split, gpus)
            for found, side in zip(jobs, sides, strict=True)
        ]
        for found, job in zip(jobs, started, strict=True):
            if found is None:
                await job.wait(progress=progress)
        return await compare_evaluations(self._session, started[0].name, started[1].name)

    async def _evaluated(self, version: ModelVersionFields, variant: str, on: str, split: Split, gpus: int) -> AsyncJob:
        return await _apply(
            self._session,
            version.proto,
            training.JOB_KIND_EVALUATE,
            on,
            name="",
            gpus=gpus,
            variant=variant,
            split=split,
        )

    async def predict_dataset(
        self,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        variant: str = "",
        confidence: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int | None = None,
        multi_label: bool = False,
        suggest: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> AsyncJob:
        """Start predicting on the images of a dataset version of its project, and return the job.

        Its file `predictions.jsonl` is downloaded by `download(folder, role="predictions")`.

        Args:
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images.
            variant: id of the one to predict with, such as "onnx-int8", by its own runtime, or "checkpoint" for the
                version itself; the fastest READY one that the recipe's worker runs by default, and with `gpus` the
                fastest that was made for one. `proto.model_variant` of the job says which it is.
            confidence: smallest score to write down, 0 to 1; here and below, None for the recipe's default.
            iou: overlap above which the weaker of two boxes of one class is dropped, 0 to 1; not for classifiers.
            classes: only these classes; empty for all.
            max_shapes: at most so many on one image, best first.
            multi_label: let one place answer for several classes; not for classifiers.
            suggest: also save what it sees as suggestions beside people's shapes, in place of what this version
                suggested on these images before; `suggestions` lists them.
            name: id of the job; made by the server by default.
            gpus: how many; 0 for the recipe's default.

        Raises:
            InvalidArgument: a parameter is wrong.
            NotFound: there is no such dataset version, or no such variant.
            FailedPrecondition: the dataset version is for another task, or the variant is not READY.
        """
        return await self._applied(
            training.JOB_KIND_PREDICT,
            on,
            suggest=suggest,
            name=name,
            gpus=gpus,
            variant=variant,
            split=split,
            confidence=confidence,
            iou=iou,
            classes=",".join(class_of(name, self.classes) for name in classes) or None,
            max_shapes=max_shapes,
            multi_label=multi_label or None,
        )

    async def predict_project(
        self,
        filter: str = "",
        *,
        variant: str = "",
        confidence: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int | None = None,
        multi_label: bool = False,
        suggest: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> AsyncJob:
        """Start predicting on the images of its project as they are now, and return the job.

        Args:
            filter: empty for all, or one of `annotated`, `unannotated`, `label:LABEL`, `split:NAME`, `name:TEXT`.
            variant: as all that follow, as `predict_dataset` takes it.
            confidence: see there.
            iou: see there.
            classes: see there.
            max_shapes: see there.
            multi_label: see there.
            suggest: see there.
            name: see there.
            gpus: see there.

        Raises:
            InvalidArgument: a parameter or the filter is wrong.
            NotFound: there is no such label, or no such variant.
            FailedPrecondition: the variant is not READY.
        """
        project = parent_of(self.name, 2)
        return await _apply(
            self._session,
            self.proto,
            training.JOB_KIND_PREDICT,
            training.ProjectImages(filter=await asset_filter(self._session, project, filter)),
            name=name,
            gpus=gpus,
            variant=variant,
            suggest=suggest,
            confidence=confidence,
            iou=iou,
            classes=",".join(class_of(name, self.classes) for name in classes) or None,
            max_shapes=max_shapes,
            multi_label=multi_label or None,
        )

    async def predict_folder(
        self,
        folder: str | Path,
        *,
        variant: str = "",
        confidence: float | None = None,
        iou: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int | None = None,
        multi_label: bool = False,
        name: str = "",
        gpus: int = 0,
        progress: Progress = unseen,
    ) -> AsyncJob:
        """Start predicting on the images of a folder that are not the project's, and return the job.

        They are uploaded for this job alone and deleted with it. A call that broke off goes on where it was when it is
        repeated. Its predictions go by the paths in the folder.

        Args:
            folder: with images in it and below, or a zip file of one; hidden files are left out.
            variant: as all that follow up to `gpus`, as `predict_dataset` takes it.
            confidence: see there.
            iou: see there.
            classes: see there.
            max_shapes: see there.
            multi_label: see there.
            name: see there.
            gpus: see there.
            progress: told about steps of "uploading" (images).

        Raises:
            InvalidArgument: there are no images in the folder, or a parameter is wrong.
            NotFound: there is no such folder, or no such variant.
            FailedPrecondition: the variant is not READY.
            TransferFailed: the object store cannot be reached.
        """
        # Before anything travels.
        how = await means(self._session, self.proto, training.JOB_KIND_PREDICT, variant, gpus)
        return await _apply(
            self._session,
            self.proto,
            training.JOB_KIND_PREDICT,
            await upload_images(self._session, parent_of(self.name, 2), folder, progress),
            how,
            name=name,
            gpus=gpus,
            confidence=confidence,
            iou=iou,
            classes=",".join(class_of(name, self.classes) for name in classes) or None,
            max_shapes=max_shapes,
            multi_label=multi_label or None,
        )

    async def _applied(
        self,
        kind: training.JobKind.ValueType,
        on: str | DatasetVersionFields,
        *,
        name: str,
        gpus: int,
        suggest: bool = False,
        variant: str = "",
        **parameters: Parameter,
    ) -> AsyncJob:
        return await _apply(
            self._session,
            self.proto,
            kind,
            await self._on(on),
            name=name,
            gpus=gpus,
            suggest=suggest,
            variant=variant,
            **parameters,
        )

    async def _on(self, on: str | DatasetVersionFields) -> str:
        """The full name of a dataset version of its project."""
        if not isinstance(on, str):
            return on.name
        return (await find_dataset_version(self._session, parent_of(self.name, 2), on)).name


async def _apply(
    session: Session,
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
) -> AsyncJob:
    """Start a job that applies a model version, or a variant of it, to images."""
    how = how or await means(session, version, kind, variant, gpus)
    job = applied(kind, version, on, how, gpus=gpus, **parameters)
    job.suggest = suggest
    request = training.CreateJobRequest(parent=parent_of(version.name, 2), job_id=name, job=job)
    return AsyncJob(session, await session.call(session.jobs.CreateJob, request))


async def list_descendants(session: Session, project: str, origin: str) -> AsyncIterator[AsyncModelVersion]:
    """The versions of a project's models that come from an origin, such as `base:NAME`, also inactive ones."""
    request = inference.ListModelVersionsRequest(parent=f"{project}/models/-", show_inactive=True, filter=origin)
    async for page in session.pages(session.models.ListModelVersions, request):
        for version in page.model_versions:
            yield AsyncModelVersion(session, version)
