"""Predictions on many images by jobs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic

from bloomery._aio.measuring import AsyncMeasuring, JobT, Split
from bloomery._fields import DatasetVersionFields
from bloomery._folder_images import upload_images
from bloomery._jobs import Parameter
from bloomery._labels import asset_filter, class_of
from bloomery._looking import Masks, mask_form
from bloomery._means import means
from bloomery._names import parent_of
from bloomery._results import Progress, unseen
from bloomery.inference import v1 as inference
from bloomery.training import v1 as training


class AsyncBatches(AsyncMeasuring[JobT], Generic[JobT]):
    """A model version that jobs predict with."""

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
        masks: Masks = "rle",
        suggest: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> JobT:
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
            masks: how a segmenter's masks are written: "rle" as COCO's run lengths, "polygons" as outlines, as files of
                YOLO have them.
            suggest: also save what it sees as suggestions beside people's shapes, in place of what this version
                suggested on these images before; `suggestions` lists them.
            name: id of the job; made by the server by default.
            gpus: how many; 0 for the recipe's default.

        Raises:
            InvalidArgument: a parameter is wrong.
            NotFound: there is no such dataset version, or no such variant.
            FailedPrecondition: the dataset version is for another task, or the variant is not READY.
        """
        return await self._start(
            self.proto,
            training.JOB_KIND_PREDICT,
            await self._on(on),
            suggest=suggest,
            name=name,
            gpus=gpus,
            variant=variant,
            split=split,
            **self._choice(confidence, iou, classes, max_shapes, multi_label, masks),
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
        masks: Masks = "rle",
        suggest: bool = False,
        name: str = "",
        gpus: int = 0,
    ) -> JobT:
        """Start predicting on the images of its project as they are now, and return the job.

        Args:
            filter: empty for all, or one of `annotated`, `unannotated`, `label:LABEL`, `split:NAME`, `name:TEXT`.
            variant: as all that follow, as `predict_dataset` takes it.
            confidence: see there.
            iou: see there.
            classes: see there.
            max_shapes: see there.
            multi_label: see there.
            masks: see there.
            suggest: see there.
            name: see there.
            gpus: see there.

        Raises:
            InvalidArgument: a parameter or the filter is wrong.
            NotFound: there is no such label, or no such variant.
            FailedPrecondition: the variant is not READY.
        """
        project = parent_of(self.name, 2)
        return await self._start(
            self.proto,
            training.JOB_KIND_PREDICT,
            training.ProjectImages(filter=await asset_filter(self._session, project, filter)),
            name=name,
            gpus=gpus,
            variant=variant,
            suggest=suggest,
            **self._choice(confidence, iou, classes, max_shapes, multi_label, masks),
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
        masks: Masks = "rle",
        name: str = "",
        gpus: int = 0,
        progress: Progress = unseen,
    ) -> JobT:
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
            masks: see there.
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
        return await self._start(
            self.proto,
            training.JOB_KIND_PREDICT,
            await upload_images(self._session, parent_of(self.name, 2), folder, progress),
            how,
            name=name,
            gpus=gpus,
            suggest=False,
            variant=variant,
            **self._choice(confidence, iou, classes, max_shapes, multi_label, masks),
        )

    def _choice(
        self,
        confidence: float | None,
        iou: float | None,
        classes: Sequence[str],
        max_shapes: int | None,
        multi_label: bool,
        masks: Masks,
    ) -> Mapping[str, Parameter]:
        """What of all that it sees is written down, and how, as parameters. Raises InvalidArgument."""
        return {
            "confidence": confidence,
            "iou": iou,
            "classes": ",".join(class_of(name, self.classes) for name in classes) or None,
            "max_shapes": max_shapes,
            "multi_label": multi_label or None,
            # Only the recipes of segmenters have it.
            "masks": masks if mask_form(masks) == inference.MASK_FORM_POLYGON else None,
        }
