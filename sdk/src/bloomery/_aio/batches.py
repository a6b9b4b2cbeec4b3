"""Predictions on many images by jobs."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Generic, TypedDict, Unpack

from bloomery._aio.measuring import AsyncMeasuring, JobT, Split
from bloomery._fields import DatasetVersionFields
from bloomery._folder_images import upload_images
from bloomery._jobs import Images
from bloomery._labels import asset_filter, class_of
from bloomery._looking import Masks, mask_form
from bloomery._means import means
from bloomery._names import parent_of
from bloomery._results import Progress, unseen
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


class BatchOptions(TypedDict, total=False):
    """How a job predicts, whatever its images are.

    Attributes:
        threshold: smallest score to write down, 0 to 1; here and below, None for the recipe's default.
        iou_threshold: overlap above which the weaker of two boxes of one class is dropped, 0 to 1; not for classifiers.
        classes: only these classes; empty for all.
        max_shapes: at most so many on one image, best first.
        multi_label: let one place answer for several classes; not for classifiers.
        masks: how a segmenter's masks are written: "rle" as COCO's run lengths, "polygons" as outlines, as files of
            YOLO have them.
        variant: id of the one to predict with, such as "onnx-int8", by its own runtime, or "checkpoint" for the version
            itself; the fastest READY one that the recipe's worker runs by default, and with `gpus` the fastest that was
            made for one. `proto.model_variant` of the job says which it is.
        name: id of the job; made by the server by default.
        gpus: how many; 0 for the recipe's default.
    """

    threshold: float | None
    iou_threshold: float | None
    classes: Sequence[str]
    max_shapes: int | None
    multi_label: bool
    masks: Masks
    variant: str
    name: str
    gpus: int


class AsyncBatches(AsyncMeasuring[JobT], Generic[JobT]):
    """A model version that jobs predict with."""

    async def predict_dataset(
        self,
        on: str | DatasetVersionFields,
        *,
        split: Split = "test",
        suggest: bool = False,
        **options: Unpack[BatchOptions],
    ) -> JobT:
        """Start predicting on the images of a dataset version of its project, and return the job.

        Its file `predictions.jsonl` is downloaded by `download(folder, role="predictions")`.

        Args:
            on: the dataset version, or its name such as "cells-v@1".
            split: whose images.
            suggest: also save what it sees as suggestions beside people's shapes, in place of what this version
                suggested on these images before; `suggestions` lists them.
            options: `threshold`, `iou_threshold`, `classes`, `max_shapes`, `multi_label`, `masks`, `variant`, `name`
                and `gpus`, as `BatchOptions` says.

        Raises:
            InvalidArgument: an option is wrong.
            NotFound: there is no such dataset version, or no such variant.
            FailedPrecondition: the dataset version is for another task, or the variant is not READY.
        """
        return await self._predict(lambda: self._on(on), split, suggest, **options)

    async def predict_project(
        self, filter: str = "", *, suggest: bool = False, **options: Unpack[BatchOptions]
    ) -> JobT:
        """Start predicting on the images of its project as they are now, and return the job.

        Args:
            filter: empty for all, or one of `annotated`, `unannotated`, `label:LABEL`, `split:NAME`, `name:TEXT`.
            suggest: as `predict_dataset` takes it, and the options, too.
            options: see there.

        Raises:
            InvalidArgument: an option or the filter is wrong.
            NotFound: there is no such label, or no such variant.
            FailedPrecondition: the variant is not READY.
        """

        async def images() -> training.ProjectImages:
            project = parent_of(self.name, 2)
            return training.ProjectImages(filter=await asset_filter(self._session, project, filter))

        return await self._predict(images, None, suggest, **options)

    async def predict_folder(
        self, folder: str | Path, *, progress: Progress = unseen, **options: Unpack[BatchOptions]
    ) -> JobT:
        """Start predicting on the images of a folder that are not the project's, and return the job.

        They are uploaded for this job alone and deleted with it. A call that broke off goes on where it was when it is
        repeated. Its predictions go by the paths in the folder.

        Args:
            folder: with images in it and below, or a zip file of one; hidden files are left out.
            progress: told about steps of "uploading" (images).
            options: as `predict_dataset` takes them.

        Raises:
            InvalidArgument: there are no images in the folder, or an option is wrong.
            NotFound: there is no such folder, or no such variant.
            FailedPrecondition: the variant is not READY.
            TransferFailed: the object store cannot be reached.
        """
        project = parent_of(self.name, 2)
        return await self._predict(
            lambda: upload_images(self._session, project, folder, progress), None, False, **options
        )

    async def _predict(
        self,
        images: Callable[[], Awaitable[Images]],
        split: Split | None,
        suggest: bool,
        /,
        *,
        threshold: float | None = None,
        iou_threshold: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int | None = None,
        multi_label: bool = False,
        masks: Masks = "rle",
        variant: str = "",
        name: str = "",
        gpus: int = 0,
    ) -> JobT:
        """Start a job on images that are looked for, or travel, once the options are known to be right."""
        named = ",".join(class_of(one, self.classes) for one in classes)
        # Only the recipes of segmenters have it.
        outlined = masks if mask_form(masks) == inference.MASK_FORM_POLYGON else None
        how = await means(self._session, self.proto, training.JOB_KIND_PREDICT, variant, gpus)
        return await self._start(
            self.proto,
            training.JOB_KIND_PREDICT,
            await images(),
            how,
            name=name,
            gpus=gpus,
            suggest=suggest,
            split=split,
            threshold=threshold,
            iou_threshold=iou_threshold,
            classes=named or None,
            max_shapes=max_shapes,
            multi_label=multi_label or None,
            masks=outlined,
        )
