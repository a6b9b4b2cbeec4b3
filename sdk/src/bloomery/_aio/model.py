"""Models, their versions and variants."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from bloomery import errors
from bloomery._aio.base import AsyncHandle, unseen
from bloomery._archive import file_name, inside
from bloomery._fields import DatasetVersionFields, ModelFields, ModelVariantFields, ModelVersionFields
from bloomery._jobs import Parameter, applied
from bloomery._names import DATASET_VERSION, parent_of
from bloomery._resolve import Resolver
from bloomery._results import Prediction, Progress, Step
from bloomery._session import Session
from bloomery._transfer import Download
from bloomery._watch import watch_job
from bloomery.annotation.v1 import Asset
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training

if TYPE_CHECKING:
    from bloomery._aio.job import AsyncJob

Split = Literal["train", "val", "test", "all"]
_RECORDING_PAUSE = 0.5
_RECORDING_SECONDS = 60.0
_PREDICT_SECONDS = 120.0


class AsyncModelVariant(AsyncHandle[inference.ModelVariant], ModelVariantFields):
    """A form of a model version for one runtime, precision and device."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = inference.GetModelVariantRequest(name=self.name)
        self._proto = await self._session.call(self._session.models.GetModelVariant, request)
        return self

    async def wait(self, *, progress: Progress = unseen, patience: float = _RECORDING_SECONDS) -> Self:
        """Wait until it is READY: watch the job that makes it, then up to `patience` seconds for it to be recorded.

        Raises:
            OptimizeFailed: it could not be made, or gives other answers than the original.
        """
        if self.state == "PENDING" and self.proto.job:
            async for seen in watch_job(self._session, self.proto.job):
                if isinstance(seen, training.Job):
                    progress(Step("optimizing"))
                elif seen.HasField("progress"):
                    progress(Step(seen.progress.phase, round(seen.progress.fraction * 100), 100))
        deadline = self._session.clock() + patience
        while (await self.refresh()).state == "PENDING":
            if self._session.clock() > deadline:
                raise errors.OptimizeFailed(f"{self.name} is still pending", resource=self.name, reason="TIMEOUT")
            await self._session.sleep(_RECORDING_PAUSE)
        if self.state == "FAILED":
            raise errors.OptimizeFailed(self.proto.reason, resource=self.name, hint=f"look at the job {self.proto.job}")
        return self

    async def delete(self) -> None:
        """Delete it."""
        request = inference.DeleteModelVariantRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModelVariant, request)


class AsyncModelVersion(AsyncHandle[inference.ModelVersion], ModelVersionFields):
    """A trained model with the proof of where it came from."""

    async def refresh(self) -> Self:
        """Read it again, with its variants."""
        self._proto = await get_model_version(self._session, self.name)
        return self

    async def variants(self) -> AsyncIterator[AsyncModelVariant]:
        """List its variants."""
        request = inference.ListModelVariantsRequest(parent=self.name)
        async for page in self._session.pages(self._session.models.ListModelVariants, request):
            for variant in page.model_variants:
                yield AsyncModelVariant(self._session, variant)

    async def optimize(self, format: str = "onnx", *, precision: str = "fp32") -> AsyncModelVariant:
        """Start making a variant and return it, PENDING; one that is there already is returned as it is."""
        request = inference.OptimizeModelVersionRequest(name=self.name, format=format, precision=precision)
        variant = await self._session.call(self._session.models.OptimizeModelVersion, request)
        return AsyncModelVariant(self._session, variant)

    async def predict(
        self,
        image: str | Path | bytes | Asset,
        *,
        threshold: float | None = None,
        iou_threshold: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int = 0,
    ) -> Prediction:
        """Predict on one image: a file, its encoded bytes, or an asset of the model's project.

        Args:
            image: JPEG, PNG, WebP, BMP or TIFF.
            threshold: smallest score to return, 0 to 1; the server's default where None.
            iou_threshold: overlap from which the lower of two boxes of one class is dropped, 0 to 1.
            classes: only these class names; empty for all.
            max_shapes: at most so many, best first; 0 for the server's default.

        Raises:
            InvalidArgument: the image cannot be read, or a class is not the model's.
            FailedPrecondition: the version has no READY variant; `optimize` makes one.
        """
        request = inference.PredictRequest(
            model_version=self.name,
            threshold=threshold,
            iou_threshold=iou_threshold,
            classes=classes,
            max_shapes=max_shapes,
        )
        source = Path(image) if isinstance(image, str) else image
        if isinstance(source, Asset):
            request.asset = source.name
        else:
            request.image = await asyncio.to_thread(_bytes, source)
        reply = await self._session.call(self._session.predictions.Predict, request, seconds=_PREDICT_SECONDS)
        return Prediction(reply, None if isinstance(source, Asset) else source)

    async def evaluate(
        self, on: str | DatasetVersionFields, *, split: Split = "test", name: str = "", gpus: int = 0
    ) -> "AsyncJob":
        """Start measuring it on a dataset version of its project, and return the job; `evaluations` has what it found.

        Classes are matched by name; those that the model lacks count as missed.

        Args:
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images; what the model was trained on flatters it.
            name: id of the job; made by the server by default.
            gpus: how many; 0 for the recipe's default.

        Raises:
            FailedPrecondition: the dataset version is for another task.
        """
        return await self._applied(training.JOB_KIND_EVALUATE, on, name=name, gpus=gpus, split=split)

    async def predict_dataset(
        self,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        confidence: float | None = None,
        iou: float | None = None,
        name: str = "",
        gpus: int = 0,
    ) -> "AsyncJob":
        """Start predicting on the images of a dataset version of its project, and return the job.

        Its file `predictions.jsonl` is downloaded by `download(folder, role="predictions")`.

        Args:
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images.
            confidence: smallest score to write down, 0 to 1; here and below, None for the recipe's default.
            iou: overlap above which the weaker of two boxes of one class is dropped, 0 to 1; not for classifiers.
            name: id of the job; made by the server by default.
            gpus: how many; 0 for the recipe's default.

        Raises:
            InvalidArgument: a parameter is wrong.
            FailedPrecondition: the dataset version is for another task.
        """
        return await self._applied(
            training.JOB_KIND_PREDICT, on, name=name, gpus=gpus, split=split, confidence=confidence, iou=iou
        )

    async def download(self, to: str | Path, *, progress: Progress = unseen) -> list[Path]:
        """Write its files below `to`, those of each READY variant in a folder of its name, and return them.

        Raises:
            TransferFailed: they did not get through, or one would leave the folder.
        """
        request = inference.SignModelArtifactsRequest(name=self.name)
        signed = (await self._session.call(self._session.models.SignModelArtifacts, request)).artifacts
        names = ["/".join(filter(None, (one.variant, file_name(one.artifact)))) for one in signed]
        wanted = [
            Download(one.get, inside(Path(to), name), one.artifact.digest)
            for one, name in zip(signed, names, strict=True)
        ]
        return await self._session.transfer.get_all(wanted, progress)

    async def _applied(
        self,
        kind: training.JobKind.ValueType,
        on: str | DatasetVersionFields,
        *,
        name: str,
        gpus: int,
        **parameters: Parameter,
    ) -> "AsyncJob":
        from bloomery._aio.job import AsyncJob

        project = parent_of(self.name, 2)
        full = await Resolver(self._session, project).find(DATASET_VERSION, on) if isinstance(on, str) else on.name
        job = applied(kind, self.proto, full, gpus=gpus, **parameters)
        request = training.CreateJobRequest(parent=project, job_id=name, job=job)
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def delete(self) -> None:
        """Delete it with its variants; its number is not used again."""
        request = inference.DeleteModelVersionRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModelVersion, request)


class AsyncModel(AsyncHandle[inference.Model], ModelFields):
    """A named line of model versions."""

    async def versions(self) -> AsyncIterator[AsyncModelVersion]:
        """List its versions, newest first."""
        request = inference.ListModelVersionsRequest(parent=self.name)
        async for page in self._session.pages(self._session.models.ListModelVersions, request):
            for version in page.model_versions:
                yield AsyncModelVersion(self._session, version)

    async def version(self, number: int | None = None) -> AsyncModelVersion:
        """One of its versions, the newest by default.

        Raises:
            NotFound: there is no such version.
        """
        proto = await get_model_version(self._session, f"{self.name}/versions/{number or 'latest'}")
        return AsyncModelVersion(self._session, proto)


async def get_model_version(session: Session, name: str) -> inference.ModelVersion:
    """Read a version by its full name."""
    return await session.call(session.models.GetModelVersion, inference.GetModelVersionRequest(name=name))


async def recorded_version(session: Session, job: str, patience: float) -> inference.ModelVersion:
    """The version that a finished TRAIN or IMPORT job made, which is recorded soon after: within `patience` seconds.

    Raises:
        NotFound: it was not recorded.
    """
    deadline = session.clock() + patience
    while True:
        try:
            return await session.call(session.models.FindModelVersion, inference.FindModelVersionRequest(job=job))
        except errors.NotFound:
            if session.clock() > deadline:
                raise
        await session.sleep(_RECORDING_PAUSE)


def _bytes(image: Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as error:
        raise errors.InvalidArgument(f"{image} cannot be read: {error.strerror}") from None
