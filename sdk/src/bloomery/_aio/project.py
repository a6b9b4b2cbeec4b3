"""Projects: images in, labels, datasets out."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, Self, get_args

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery import errors
from bloomery._aio import cascade as cascade_
from bloomery._aio.base import AsyncHandle
from bloomery._aio.data import AsyncAsset, AsyncImport, AsyncLabel
from bloomery._aio.dataset import AsyncDataset, AsyncDatasetVersion, list_datasets
from bloomery._aio.job import AsyncJob
from bloomery._choices import Unassigned, chosen, split_policy
from bloomery._fields import ProjectFields
from bloomery._findings import findings, validation
from bloomery._folders import look, refuse_untold, unpacked
from bloomery._foreign import Decoder, Layout, Scale, parameters_of
from bloomery._jobs import import_job
from bloomery._labels import asset_filter, by_label_id
from bloomery._names import DATASET_VERSION
from bloomery._quotas import Limit, Quota, get_quota, set_quota
from bloomery._resolve import Resolver
from bloomery._results import Contents, Progress, Validation, unseen
from bloomery._suggestions import delete_suggestions, find_sets
from bloomery._upload import upload_folder
from bloomery.annotation import v1 as annotation
from bloomery.common.v1 import Problem
from bloomery.dataset import v1 as dataset
from bloomery.training import v1 as training
from bloomery.vision.v1 import TASK_TYPE_CLASSIFY, TaskType

FolderFormat = Literal["voc", "coco", "yolo", "images"]
Task = Literal["detect", "segment", "classify"]
_CASCADE = "delete what holds it first, or all of it with cascade=True"


class AsyncProject(AsyncHandle[annotation.Project], ProjectFields):
    """A body of images with one list of labels."""

    async def refresh(self) -> Self:
        """Read it again."""
        request = annotation.GetProjectRequest(name=self.name)
        self._proto = await self._session.call(self._session.annotation.GetProject, request)
        return self

    async def update(self, *, display_name: str | None = None, labels: Mapping[str, str] | None = None) -> Self:
        """Change what is given; `labels` takes the place of all that it had.

        Raises:
            InvalidArgument: lists everything that cannot be.
        """
        given = {"display_name": display_name, "labels": labels}
        if paths := [field for field, value in given.items() if value is not None]:
            project = annotation.Project(name=self.name, display_name=display_name or "", labels=labels)
            request = annotation.UpdateProjectRequest(project=project, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.annotation.UpdateProject, request)
        return self

    async def quota(self) -> Quota:
        """What it may take, and what of that it has taken."""
        return await get_quota(self._session, self.name)

    async def set_quota(
        self,
        *,
        bytes: Limit | None = None,
        images: Limit | None = None,
        running_jobs: Limit | None = None,
        gpus: Limit | None = None,
    ) -> Quota:
        """Change the limits that are given, as an admin of the installation.

        Args:
            bytes: of its files, each content once; a number, "none" for no limit, "default" for the installation's.
            images: as they are now.
            running_jobs: at the same time; further ones wait.
            gpus: of those jobs together.

        Raises:
            InvalidArgument: a limit is neither of these.
            PermissionDenied: you are no admin of the installation.
        """
        limits = {"bytes": bytes, "images": images, "running_jobs": running_jobs, "gpus": gpus}
        return await set_quota(self._session, self.name, limits)

    async def contents(self) -> Contents:
        """What was made from it and holds it: all that `delete(cascade=True)` deletes beside images and annotations."""
        return await cascade_.contents(self._session, self.name)

    async def holders(self) -> Sequence[str]:
        """How people call what holds it, such as `datasets/cells-v`: while there is any, it cannot be deleted alone."""
        request = annotation.ListReferencesRequest(parent=self.name)
        pages = self._session.pages(self._session.annotation.ListReferences, request)
        return list(dict.fromkeys([one.title async for page in pages for one in page.references]))

    async def delete(self, *, cascade: bool = False, cancel: bool = False, progress: Progress = unseen) -> None:
        """Delete it with its images, labels, annotations and imports.

        Args:
            cascade: also with what was made from it: jobs, model versions, datasets.
            cancel: stop its jobs that are not over, at once, where `cascade` meets some.
            progress: told about steps of what goes with it.

        Raises:
            FailedPrecondition: something was made from it, and `cascade` is not given; or jobs are not over, and
                `cancel` is not given (`JOBS_ACTIVE`): nothing was deleted.
        """
        if cascade:
            await cascade_.delete(self._session, self.name, cancel=cancel, progress=progress)
            return
        request = annotation.DeleteProjectRequest(name=self.name)
        try:
            await self._session.delete(self._session.annotation.DeleteProject, request)
        except errors.FailedPrecondition as error:
            error.hint = _CASCADE if error.reason == "STILL_REFERENCED" else error.hint
            raise

    async def labels(self) -> AsyncIterator[AsyncLabel]:
        """List its labels in the order of their creation."""
        request = annotation.ListLabelsRequest(parent=self.name)
        async for page in self._session.pages(self._session.annotation.ListLabels, request):
            for label in page.labels:
                yield AsyncLabel(self._session, label)

    async def create_label(self, display_name: str, *, id: str = "", color: str = "") -> AsyncLabel:
        """Add a class of things; by default the id is made from its name and the color (`#rrggbb`) is of a palette.

        Raises:
            AlreadyExists: the id or the display name is taken.
        """
        label = annotation.Label(display_name=display_name, color=color)
        request = annotation.CreateLabelRequest(parent=self.name, label_id=id, label=label)
        return AsyncLabel(self._session, await self._session.call(self._session.annotation.CreateLabel, request))

    async def assets(self, *, filter: str = "") -> AsyncIterator[AsyncAsset]:
        """List its images.

        Args:
            filter: empty, or one of `annotated`, `unannotated`, `suggested`, `label:LABEL`, `split:NAME`, `name:TEXT`.

        Raises:
            NotFound: there is no such label.
        """
        known = await asset_filter(self._session, self.name, filter)
        request = annotation.ListAssetsRequest(parent=self.name, filter=known)
        async for page in self._session.pages(self._session.annotation.ListAssets, request):
            for asset in page.assets:
                yield AsyncAsset(self._session, asset)

    async def annotation_sets(self, *, filter: str = "") -> AsyncIterator[annotation.AnnotationSet]:
        """List the sets of shapes of all its images.

        Args:
            filter: empty, or one of `source:human`, `source:import`, `source:model`, `agent:NAME`, such as a user's, or
                the full name of a model version.
        """
        async for found in find_sets(self._session, self.name, filter):
            yield found

    async def delete_suggestions(self, model_version: str) -> int:
        """Delete all that a model version suggests, and return on how many images; what people accepted stays.

        Args:
            model_version: its name, full or such as "cells-v@1"; it need not exist any more.

        Raises:
            InvalidArgument: that is no name of a model version.
        """
        if "/" not in model_version:
            model, _, number = model_version.partition("@")
            model_version = f"{self.name}/models/{model}/versions/{number}"
        return await delete_suggestions(self._session, self.name, model_version)

    async def imports(self) -> AsyncIterator[AsyncImport]:
        """List its imports, newest first."""
        request = annotation.ListImportsRequest(parent=self.name)
        async for page in self._session.pages(self._session.annotation.ListImports, request):
            for one in page.imports:
                yield AsyncImport(self._session, one)

    async def import_folder(
        self,
        folder: str | Path,
        *,
        format: FolderFormat | None = None,
        strict: bool = False,
        progress: Progress = unseen,
    ) -> AsyncImport:
        """Upload a labelled folder, have it read, and wait until that is done.

        Can be repeated, after an interruption and after a correction: only what is missing travels, and images get the
        shapes and splits that the files say now, except where people changed them. What became of the images is in
        `outcomes`, what the folder was understood to be in `plan`, and items that cannot be used in `proto.problems`.

        Args:
            folder: with images, and VOC, COCO or YOLO files if they are labelled; or a zip file of one.
            format: found out from the files by default.
            strict: fail before anything is imported where the server has doubts about the folder.
            progress: told about steps of "uploading" (files) and "importing" (images).

        Raises:
            NotFound: there is no such folder.
            InvalidArgument: it has no such files, or is an archive that cannot be unpacked, or there is no such format.
            TransferFailed: the object store cannot be reached.
            ImportFailed: the server could not read it, or was strict.
        """
        return await self._read_folder(folder, format, progress, strict=strict)

    async def plan_import(
        self, folder: str | Path, *, format: FolderFormat | None = None, progress: Progress = unseen
    ) -> AsyncImport:
        """Have a folder understood without importing anything: `plan` of the result says how. No image is uploaded.

        Raises as `import_folder` does.
        """
        return await self._read_folder(folder, format, progress, plan_only=True)

    async def _read_folder(
        self,
        folder: str | Path,
        format: FolderFormat | None,
        progress: Progress,
        *,
        strict: bool = False,
        plan_only: bool = False,
    ) -> AsyncImport:
        named = chosen(annotation.Format, "format", format, get_args(FolderFormat)) if format else None
        given = await asyncio.to_thread(Path(folder).resolve)
        async with unpacked(given) as root:
            found = await asyncio.to_thread(look, root, given)
            if strict:
                refuse_untold(found, given, "rename the files, or import without being strict")
            wanted = await upload_folder(self._session, self.name, found, progress, plan_only=plan_only)
        wanted.strict = strict
        wanted.display_name = given.name
        wanted.format = named or annotation.FORMAT_UNSPECIFIED
        request = annotation.CreateImportRequest(parent=self.name)
        # The field has the name of a keyword.
        getattr(request, "import").CopyFrom(wanted)
        created = await self._session.call(self._session.annotation.CreateImport, request)
        return await AsyncImport(self._session, created, found.skipped).wait(progress=progress)

    async def import_model(
        self,
        path: str | Path,
        *,
        model: str,
        recipe: str | None = None,
        task: Task | None = None,
        name: str = "",
        imgsz: int | None = None,
        classes: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
        layout: Layout | None = None,
        scale: Scale | None = None,
        decoder: Decoder | None = None,
    ) -> AsyncJob:
        """Upload a model that was trained elsewhere, start a job that reads it, and return the job.

        `model_version` of the finished job is a version like those of trainings, without a dataset version. What is
        there already does not travel again. All from `classes` on is for ONNX, and needed only where the file leaves
        it open: the job fails otherwise with CONFIG_ERROR, and lists all that is to be given.

        Args:
            path: a `.pt` file of Ultralytics, an `.onnx` file, or a folder with one, such as a Triton model directory.
            model: the model to publish under.
            recipe: the one that reads it, such as "yolo-detect"; by `task` otherwise.
            task: what the model does.
            name: id of the job; made by the server by default.
            imgsz: side of the square input in pixels of a `.pt` file; the one that it was trained with where None.
            classes: names in the order of their numbers.
            size: (width, height) of its input in pixels.
            layout: order of the axes of its input.
            scale: what becomes of a pixel's value before the model takes it.
            decoder: how its outputs are read.

        Raises:
            InvalidArgument: there is no such file, or a parameter is wrong.
            TransferFailed: the object store cannot be reached.
        """
        given = parameters_of(imgsz=imgsz, classes=classes, size=size, layout=layout, scale=scale, decoder=decoder)
        job = await import_job(
            self._session, self.name, Path(path), model=model, recipe=recipe, task=task, parameters=given
        )
        request = training.CreateJobRequest(parent=self.name, job_id=name, job=job)
        return AsyncJob(self._session, await self._session.call(self._session.jobs.CreateJob, request))

    async def validate(self, *, limit: int = 1000) -> Validation:
        """Check its annotations: counts of everything, and the first `limit` problems."""
        return await validation(self._session, self.name, limit)

    async def problems(self) -> AsyncIterator[Problem]:
        """Check its annotations and yield every finding, in the order of images."""
        async with aclosing(findings(self._session, self.name)) as found:
            async for some in found:
                for problem in some.problems:
                    yield problem

    async def datasets(self) -> AsyncIterator[AsyncDataset]:
        """List the datasets made from it."""
        async for one in list_datasets(self._session, self.name):
            yield one

    async def build_dataset(
        self,
        id: str,
        *,
        split: str = "80/10/10",
        seed: int = 0,
        task: Task = "detect",
        class_mapping: Mapping[str, str] | None = None,
        include_empty: bool | None = None,
        include_unannotated: bool = False,
        unassigned: Unassigned | None = None,
    ) -> AsyncDatasetVersion:
        """Start building a version of the dataset `id`, which is made where it does not exist, and return it, BUILDING.

        Args:
            id: such as "cells-v".
            split: percent of training, validation and test images, or "official" for that of the import.
            seed: of the drawing: the same seed, images and labels give the same split everywhere.
            task: what it is for; decides which shapes are kept.
            class_mapping: from label to the name of its class, "" to leave it out. Labels that it does not name keep
                their own.
            include_empty: also take images that are annotated as empty; so by default, but for classification.
            include_unannotated: also take images that nobody annotated, as background; not for classification.
            unassigned: with "official", the part of images without a split, or "drop" to leave them out. Without it
                a build that meets such images fails.

        Raises:
            InvalidArgument: the split, the task or the id is wrong.
            NotFound: a label of the mapping does not exist.
        """
        kind = chosen(TaskType, "task", task, get_args(Task))
        spec = dataset.DatasetSpec(
            source=self.name,
            task=kind,
            split=split_policy(split, seed, unassigned),
            class_mapping=await by_label_id(self._session, self.name, class_mapping or {}),
            keep_unmapped=True,
            include_empty=kind != TASK_TYPE_CLASSIFY if include_empty is None else include_empty,
            include_unannotated=include_unannotated,
        )
        return await self._build(id, spec)

    async def build_crops(
        self,
        id: str,
        *,
        source: str = "",
        margin: float = 0.0,
        smallest_side: int = 0,
        square: bool = False,
        split: str = "",
        seed: int = 0,
        class_mapping: Mapping[str, str] | None = None,
        unassigned: Unassigned | None = None,
    ) -> AsyncDatasetVersion:
        """Start building a version to classify, of one image for each box, and return it, BUILDING.

        All that is cut out of one image is in one part.

        Args:
            id: such as "cells-crops".
            source: a version for detection or segmentation whose boxes are cut out, such as "cells-v@1", and whose
                split is kept; the project's images by default.
            margin: what is added to a box on each side, as a share of its width and height; 0 to 10.
            smallest_side: pixels; crops of which a side is shorter are left out. 0 for 10.
            square: make the shorter side as long as the longer one.
            split: of the project's images, as for `build_dataset`; "80/10/10" by default.
            seed: of the drawing of that split.
            class_mapping: from label, or class of `source`, to the name of its class, "" to leave it out. What it does
                not name keeps its own name.
            unassigned: with the split "official" of the project's images, the part of those without one, or "drop".

        Raises:
            InvalidArgument: lists everything that cannot be.
            NotFound: `source` or a label of the mapping does not exist.
            FailedPrecondition: `source` is not READY.
        """
        found = await Resolver(self._session, self.name).find(DATASET_VERSION, source) if source else ""
        mapping, divided = class_mapping or {}, split or seed or unassigned
        spec = dataset.DatasetSpec(
            source=found or self.name,
            task=TASK_TYPE_CLASSIFY,
            split=split_policy(split or "80/10/10", seed, unassigned) if divided or not found else None,
            class_mapping=mapping if found else await by_label_id(self._session, self.name, mapping),
            keep_unmapped=True,
            crops=dataset.CropSpec(margin=margin, smallest_side=smallest_side, square=square),
        )
        return await self._build(id, spec)

    async def _build(self, id: str, spec: dataset.DatasetSpec) -> AsyncDatasetVersion:
        request = dataset.CreateDatasetVersionRequest(
            parent=f"{self.name}/datasets/{id}",
            dataset_version=dataset.DatasetVersion(spec=spec),
            allow_missing_dataset=True,
        )
        created = await self._session.call(self._session.datasets.CreateDatasetVersion, request)
        return AsyncDatasetVersion(self._session, created)
