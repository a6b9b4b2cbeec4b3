"""A job: what there is to see of it while it runs, the files that it made, and what people ask of it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, Self, get_args

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict

from bloomery import _observed, errors
from bloomery._aio.base import AsyncHandle
from bloomery._archive import file_name, inside
from bloomery._choices import chosen
from bloomery._evaluations import Evaluation
from bloomery._fields import JobFields
from bloomery._files import Download
from bloomery._names import parent_of
from bloomery._predicted_images import PredictedImage
from bloomery._predicted_images import read as read_predictions
from bloomery._reproduction import repetition
from bloomery._results import Checkpoint, Epoch, Event, Progress, Sample, Step, moment, unseen
from bloomery._seen_files import PredictionFormat, check, convert
from bloomery._watch import watch_job
from bloomery.training import v1 as training

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class AsyncWork(AsyncHandle[training.Job], JobFields):
    """A piece of work."""

    async def refresh(self) -> Self:
        """Read it again."""
        self._proto = await self._session.call(self._session.jobs.GetJob, training.GetJobRequest(name=self.name))
        return self

    async def watch(self, *, after: int | None = None) -> AsyncIterator[Event]:
        """Yield its events in order, none twice, until it is over; survives restarts of the server.

        Starts at the oldest event that is kept, or after the sequence `after`. On the way the handle's own state,
        reason and progress follow the events. Leaving the loop does not touch the job.

        Raises:
            Unavailable: the server stayed away for longer than the timeouts allow.
        """
        async with aclosing(watch_job(self._session, self.name, after)) as seen:
            async for one in seen:
                if isinstance(one, training.Job):
                    self._proto = one
                else:
                    self._apply(one)
                    yield Event(one)
        await self.refresh()

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

    async def reproduce(self, *, name: str = "") -> Self:
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
        return type(self)(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def logs(self, *, tail: int = 0, level: Level = "DEBUG") -> AsyncIterator[training.LogEntry]:
        """Yield the lines of its log, oldest first: the last `tail` (0 for all) at least as serious as `level`."""
        least = chosen(training.LogLine.Level, "level", level, get_args(Level))
        request = training.GetLogsRequest(name=self.name, tail=tail, minimum_level=least)
        async for page in self._session.pages(self._session.jobs.GetLogs, request):
            for entry in page.entries:
                yield entry

    async def preflight(self) -> training.PreflightReported | None:
        """What one of its steps takes, and how many images fit into one; None where that is not known (yet)."""
        return await _observed.preflight(self._session, self.name)

    async def samples(self, *, epoch: int = 0) -> list[Sample]:
        """What its model sees in some validation images after `epoch` epochs (0 for the newest), with the images.

        `watch` has them without the images, as events of the kind `samples`.

        Raises:
            NotFound: there are none (yet), or none of that epoch; or an image was deleted.
            TransferFailed: the images did not get through.
        """
        return await _observed.samples(self._session, self.name, epoch)

    async def epochs(self) -> list[Epoch]:
        """What was measured at the end of each epoch, in their order; of an epoch that was repeated, the last."""
        return await _observed.epochs(self._session, self.name)

    async def download(self, to: str | Path, *, role: str = "", progress: Progress = unseen) -> list[Path]:
        """Write the files that it made below `to`, or only that of a `role` such as "checkpoint", and return them.

        Raises:
            NotFound: it made no such file, or is not finished.
            TransferFailed: they did not get through, or one would leave the folder.
        """
        signed = await self._signed(role)
        wanted = [Download(one.get, inside(Path(to), file_name(one.artifact)), one.artifact.digest) for one in signed]
        return await self._session.transfer.get_all(wanted, progress)

    async def checkpoints(self) -> list[Checkpoint]:
        """Its complete checkpoints, newest first; `Checkpoint.name` is what another training may start from."""
        request = training.ListCheckpointsRequest(parent=self.name)
        pages = self._session.pages(self._session.jobs.ListCheckpoints, request)
        return [
            Checkpoint(one.name, one.epoch, one.attempt, one.size_bytes, one.best, moment(one.create_time))
            async for page in pages
            for one in page.checkpoints
        ]

    async def download_checkpoint(
        self, to: str | Path, checkpoint: int | str = "best", *, progress: Progress = unseen
    ) -> list[Path]:
        """Write the files of a checkpoint below `to` and return them: of so many epochs, "best" or "last".

        Its job may still be at work. `weights.pt` is the model; the others are what the job goes on with.

        Raises:
            NotFound: there is no such checkpoint (any more); tells those that there are.
            TransferFailed: they did not get through.
        """
        request = training.SignCheckpointRequest(name=f"{self.name}/checkpoints/{checkpoint}")
        signed = (await self._session.call(self._session.jobs.SignCheckpoint, request)).files
        wanted = [Download(one.get, inside(Path(to), file_name(one.artifact)), one.artifact.digest) for one in signed]
        return await self._session.transfer.get_all(wanted, progress)

    async def download_events(self, to: str | Path, *, progress: Progress = unseen) -> list[Path]:
        """Write the files that TensorBoard reads of a training below `to`, and return them; none where it has none.

        The job may still be at work: call it again for those that are new.

        Raises:
            TransferFailed: they did not get through.
        """
        request = training.SignEventFilesRequest(name=self.name)
        signed = (await self._session.call(self._session.jobs.SignEventFiles, request)).files
        wanted = [Download(one.get, inside(Path(to), file_name(one.artifact)), one.artifact.digest) for one in signed]
        return await self._session.transfer.get_all(wanted, progress)

    async def report(self, to: str | Path) -> Path:
        """Write the page about its evaluations to the file `to`, and return it: it needs no other file and no network.

        Raises:
            NotFound: it is of a kind that measures nothing, or not finished, or from before there were such pages.
            TransferFailed: it did not get through.
        """
        [signed] = await self._signed("report")
        [written] = await self._session.transfer.get_all(
            [Download(signed.get, Path(to), signed.artifact.digest)], unseen
        )
        return written

    async def evaluations(self) -> list[Evaluation]:
        """What our own evaluation measured: one for each split, of a TRAIN or EVALUATE job that has succeeded.

        Raises:
            NotFound: it is of another kind, or not finished.
        """
        with tempfile.TemporaryDirectory() as folder:
            [path] = await self.download(folder, role="evaluation")
            return Evaluation.read(await asyncio.to_thread(path.read_bytes))

    async def predictions(self) -> AsyncIterator[PredictedImage]:
        """What a PREDICT job that has succeeded wrote about each of its images, in the order of its file.

        Raises:
            NotFound: it is of another kind, or not finished.
        """
        with tempfile.TemporaryDirectory() as folder:
            [path] = await self.download(folder, role="predictions")
            for image in read_predictions(path, self.proto.model_version):
                yield image

    async def write_predictions(
        self, to: str | Path, *, formats: Sequence[PredictionFormat] = ("jsonl",), progress: Progress = unseen
    ) -> list[Path]:
        """Write what a PREDICT job that has succeeded saw to a folder, and return the files, one for each format.

        What was there is replaced once all images are done; YOLO's label files one by one.

        Args:
            to: the folder, made where it does not exist.
            formats: "jsonl" as the job wrote it, "coco", "yolo", "parquet".
            progress: told how far the download of the lines is.

        Raises:
            InvalidArgument: there is no such format.
            FailedPrecondition: one cannot hold what the model sees, or PyArrow is not installed.
            NotFound: the job is of another kind, or not finished.
        """
        details = MessageToDict(self.proto.result.details)
        outlines = self.proto.effective_parameters.fields["masks"].string_value == "polygons"
        await asyncio.to_thread(check, formats, details.get("task", ""), outlines=outlines)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(to if "jsonl" in formats else scratch)
            [lines] = await self.download(folder, role="predictions", progress=progress)
            paths = [lines] if "jsonl" in formats else []
            if others := [one for one in formats if one != "jsonl"]:
                paths += await asyncio.to_thread(convert, lines, Path(to), others, details.get("classes", ()))
        return paths

    async def _signed(self, role: str) -> Sequence[training.SignedArtifact]:
        """The files that it made, or that of a role, with where they are. Raises NotFound where there are none."""
        request = training.SignArtifactsRequest(name=self.name, roles=[role] if role else [])
        signed = (await self._session.call(self._session.jobs.SignArtifacts, request)).artifacts
        if not signed:
            raise errors.NotFound(f"job {self.id} has made no {role or 'file'}: it is {self.state}")
        return signed

    def _apply(self, event: training.JobEvent) -> None:
        match event.WhichOneof("event"):
            case "state_changed":
                self._proto.state = event.state_changed.to_state
                self._proto.reason.CopyFrom(event.state_changed.reason)
            case "progress":
                self._proto.progress.CopyFrom(event.progress)
            case "metrics":
                self._proto.progress.metrics.update(event.metrics.values)
