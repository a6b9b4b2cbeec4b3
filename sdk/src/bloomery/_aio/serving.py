"""What a model version does without a job: its variants, predictions and files."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Self, TypedDict, TypeVar, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from bloomery import _suggestions, errors
from bloomery._aio.alias import AsyncModelAlias, set_alias
from bloomery._aio.base import AsyncHandle
from bloomery._aio.variant import AsyncModelVariant
from bloomery._archive import file_name, found_below, inside, refuse_foreign
from bloomery._card import METADATA, ModelCard, write_metadata
from bloomery._comparison import ModelComparison, comparison
from bloomery._concurrency import in_order
from bloomery._fields import AssetFields, DatasetVersionFields, ModelVersionFields
from bloomery._files import Download
from bloomery._images import Blob, ImageLike, encoded
from bloomery._jobs import Parameter, struct
from bloomery._labels import class_of
from bloomery._looking import Masks, box_of, mask_form, tiling_of
from bloomery._names import parent_of
from bloomery._results import Predicted, Prediction, Progress, unseen
from bloomery._versions import (
    compare_data,
    find_dataset_version,
    get_card,
    get_model_version,
    preview_deletion,
)
from bloomery.annotation.v1 import AnnotationSet, Asset
from bloomery.inference import v1 as inference

ImageT = TypeVar("ImageT", bound=ImageLike)
_AT_ONCE = 4
_PREDICT_SECONDS = 120.0
_OF_ONE_SIZE = ("REGION_OUTSIDE", "TOO_MANY_TILES")
"""Reasons for which images of another size may be fine."""


class PredictOptions(TypedDict, total=False):
    """The options of a prediction."""

    threshold: float | None
    iou_threshold: float | None
    classes: Sequence[str]
    max_shapes: int
    multi_label: bool
    variant: str
    region: Sequence[float] | None
    tile: int | None
    tile_overlap: float | None
    masks: Masks


class AsyncServing(AsyncHandle[inference.ModelVersion], ModelVersionFields):
    """The half of a model version that needs no jobs."""

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

    async def optimize(
        self,
        /,
        format: str = "onnx",
        *,
        precision: str = "",
        on: str | DatasetVersionFields = "",
        settings: Mapping[str, Parameter] | None = None,
        **parameters: Parameter,
    ) -> AsyncModelVariant:
        """Start making a variant and return it, PENDING; one that is there already is returned as it is.

        Args:
            format: file format, also with its precision, such as "onnx-int8"; `AsyncClient.model_forms` has all forms.
            precision: of the numbers, such as "int8"; the format's default where empty.
            on: dataset version to calibrate, compare and measure on, or its name such as "cells-v@1"; the one that the
                model was trained on by default.
            settings: parameters of the recipe, also such as have a name that is taken here.
            parameters: parameters of the recipe, such as `calibration_images=300`; its defaults where not given.

        Raises:
            InvalidArgument: there is no such form, or a parameter is wrong.
            FailedPrecondition: this form cannot be made here.
            NotFound: there is no such dataset version.
        """
        kind, _, rest = format.partition("-")
        request = inference.OptimizeModelVersionRequest(
            name=self.name,
            format=kind,
            precision=precision or rest,
            parameters=struct({**(settings or {}), **parameters}),
        )
        if isinstance(on, str) and on:
            request.dataset_version = (await find_dataset_version(self._session, parent_of(self.name, 2), on)).name
        elif not isinstance(on, str):
            request.dataset_version = on.name
        variant = await self._session.call(self._session.models.OptimizeModelVersion, request)
        return AsyncModelVariant(self._session, variant)

    async def predict(
        self,
        image: ImageLike,
        *,
        threshold: float | None = None,
        iou_threshold: float | None = None,
        classes: Sequence[str] = (),
        max_shapes: int = 0,
        multi_label: bool = False,
        variant: str = "",
        region: Sequence[float] | None = None,
        tile: int | None = None,
        tile_overlap: float | None = None,
        masks: Masks = "rle",
    ) -> Prediction:
        """Predict on one image.

        Args:
            image: a file or its bytes (JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF); an asset or a `Blob` of the model's
                project; a Pillow image; or an array of pixels, uint8 [height, width, 3] in the order red, green, blue.
            threshold: smallest score to return, 0 to 1; the server's default where None.
            iou_threshold: overlap above which the weaker of two boxes of one class is dropped, 0 to 1.
            classes: only these classes; empty for all.
            max_shapes: at most so many, best first; 0 for the server's default.
            multi_label: let one place answer for several classes, as Ultralytics' own validation does.
            variant: id of the one that answers, such as "onnx-int8"; the fastest by default.
            region: look at this part only: x, y, width, height in pixels of the image as it is shown. Shapes come in
                pixels of the whole image.
            tile: look at overlapping square tiles of this side in pixels, 0 for the size of the model's input, so that
                small objects of a large image are not made smaller; None for all at once.
            tile_overlap: the part of a side that neighbours share at least, 0 to 0.9; the server's default where None.
            masks: how a segmenter's masks are answered: "rle" as COCO's run lengths, "polygons" as outlines along the
                edges of the pixels, holes joined to the outline around them.

        Raises:
            InvalidArgument: the image cannot be read, a class is not the model's, nothing of the image lies in the
                region, or it takes too many tiles.
            NotFound: there is no such variant, asset or blob.
            FailedPrecondition: the version has no READY variant, or not that one; `optimize` makes it.
        """
        request = self._asked(
            threshold=threshold,
            iou_threshold=iou_threshold,
            classes=classes,
            max_shapes=max_shapes,
            multi_label=multi_label,
            variant=variant,
            region=region,
            tile=tile,
            tile_overlap=tile_overlap,
            masks=masks,
        )
        source: bytes | Path | None = None
        if isinstance(image, Asset | AssetFields):
            request.asset = image.name
        elif isinstance(image, Blob):
            request.blob = image.uri
        else:
            request.image = await asyncio.to_thread(encoded, image)
            source = Path(image) if isinstance(image, str | Path) else request.image
        reply = await self._session.call(self._session.predictions.Predict, request, seconds=_PREDICT_SECONDS)
        return Prediction(reply, source)

    async def predict_each(
        self, images: Iterable[ImageT] | AsyncIterable[ImageT], **options: Unpack[PredictOptions]
    ) -> AsyncIterator[Predicted[ImageT]]:
        """Predict on images, several at once, and yield what became of each, in their order.

        An image that cannot be read or used does not stop the others: its `error` says why.

        Args:
            images: what `predict` takes; all are listed before the first is sent.
            options: as `predict` takes them.

        Raises:
            InvalidArgument: an option is wrong.
            FailedPrecondition: the version has no READY variant; `optimize` makes one.
        """
        listed = [one async for one in images] if isinstance(images, AsyncIterable) else list(images)
        async with aclosing(in_order((self._attempt(one, options) for one in listed), _AT_ONCE)) as found:
            async for one in found:
                yield one

    def _asked(self, **options: Unpack[PredictOptions]) -> inference.PredictRequest:
        """What to predict with, without an image."""
        region = options.get("region")
        return inference.PredictRequest(
            model_version=self.name,
            threshold=options.get("threshold"),
            iou_threshold=options.get("iou_threshold"),
            classes=[class_of(name, self.classes) for name in options.get("classes", ())],
            max_shapes=options.get("max_shapes", 0),
            multi_label=options.get("multi_label", False),
            variant=options.get("variant", ""),
            region=None if region is None else box_of(region),
            tiling=tiling_of(options.get("tile"), options.get("tile_overlap")),
            masks=mask_form(options.get("masks", "rle")),
        )

    async def _attempt(self, image: ImageT, options: PredictOptions) -> Predicted[ImageT]:
        try:
            return Predicted(image, await self.predict(image, **options))
        except (errors.InvalidArgument, errors.NotFound) as error:
            if not _concerns(image, error):
                raise
            return Predicted(image, error=error)

    async def suggestions(self) -> AsyncIterator[AnnotationSet]:
        """List what it suggests on the images of its project: a set for each that it looked at, maybe an empty one."""
        async for found in _suggestions.find_sets(self._session, parent_of(self.name, 2), f"agent:{self.name}"):
            yield found

    async def download(self, to: str | Path, *, progress: Progress = unseen) -> list[Path]:
        """Write its files below `to`, those of each READY variant in a folder of its name, and return them.

        Beside them `metadata.json` says what they are: parameters, figures, lineage, as in its card.

        Raises:
            TransferFailed: they did not get through, or one would leave the folder.
            FailedPrecondition: `to` holds files that are not of this version.
            InvalidArgument: `to` is a file.
        """
        request = inference.SignModelArtifactsRequest(name=self.name)
        signed = (await self._session.call(self._session.models.SignModelArtifacts, request)).artifacts
        names = ["/".join(filter(None, (one.variant, file_name(one.artifact)))) for one in signed]
        wanted = [
            Download(one.get, inside(Path(to), name), one.artifact.digest)
            for one, name in zip(signed, names, strict=True)
        ]
        refuse_foreign(Path(to), (await asyncio.to_thread(found_below, Path(to))).foreign({*names, METADATA}))
        found = await self._session.transfer.get_all(wanted, progress)
        if METADATA in names:
            return found
        return [*found, await asyncio.to_thread(write_metadata, Path(to), await get_card(self._session, self.name))]

    async def update(self, *, note: str | None = None, active: bool | None = None) -> Self:
        """Change what is given: what people say of it, or whether it is offered.

        One that is not active is never the newest, and no list has it unless it is asked; by its number it works on.

        Raises:
            Conflict: somebody changed it since it was read.
            FailedPrecondition: it is not to be active, and aliases name it.
        """
        states = inference.ModelVersion
        given = {"note": note, "state": active}
        if paths := [field for field, value in given.items() if value is not None]:
            state = states.STATE_ACTIVE if active else states.STATE_INACTIVE
            version = states(name=self.name, note=note or "", state=state, etag=self.proto.etag)
            request = inference.UpdateModelVersionRequest(model_version=version, update_mask=FieldMask(paths=paths))
            self._proto = await self._session.call(self._session.models.UpdateModelVersion, request)
        return self

    async def card(self) -> ModelCard:
        """All that is known of it, for people: facts, data, parameters, measurements, variants."""
        return ModelCard(await get_card(self._session, self.name))

    async def compare(self, other: ModelVersionFields) -> ModelComparison:
        """Put it side by side with another version: figures, parameters, data, size and speed."""
        before, after = [await get_card(self._session, name) for name in (self.name, other.name)]
        data = await compare_data(self._session, before, after)
        return comparison(before, after, data)

    async def set_alias(
        self,
        alias: str,
        *,
        reason: str = "",
        expected: int | None = None,
        conditions: Sequence[str] = (),
        on: str = "",
        if_better: bool = False,
        split: str = "test",
    ) -> AsyncModelAlias:
        """Let an alias of its model, such as "champion", name it: a new one, or one that named another version.

        Args:
            alias: its id.
            reason: why, for its history.
            expected: number of the version that it must name now, 0 where there must be no such alias; whatever it
                names by default.
            conditions: what must have been measured, all of it, such as "test/map50 >= 0.8" (or >, <=, <); of each
                metric the newest figure counts, that of the training or of an evaluation since. "test/map50 of
                onnx-int8 >= 0.8" asks for an evaluation of that variant.
            on: only what was measured on this dataset version (`cells-v@2`) counts.
            if_better: only if it is better than the version that the alias names now, as `better` tells by the newest
                evaluations of both on the same images. Where the alias names nothing yet, that is not asked.
            split: whose images these are: "test", "val", "train" or "all".

        Raises:
            Conflict: it names another version than `expected`: somebody else was first.
            FailedPrecondition: conditions are not met, or it is not better; its violations have the figures, and say
                which evaluation is missing.
            InvalidArgument: the id cannot be an alias's, or a text is no condition.
        """
        project = parent_of(self.name, 2)
        measured = (await find_dataset_version(self._session, project, on)).name if on else ""
        return await set_alias(
            self._session,
            self.name,
            alias,
            reason=reason,
            expected=expected,
            conditions=conditions,
            on=measured,
            if_better=if_better,
            split=split,
        )

    async def deletion(self) -> inference.ModelDeletion:
        """What would go with it: its variants, and their files."""
        return await preview_deletion(self._session, self.name)

    async def delete(self) -> None:
        """Delete it with its variants; its number is not used again.

        Raises:
            FailedPrecondition: aliases name it.
        """
        request = inference.DeleteModelVersionRequest(name=self.name)
        await self._session.delete(self._session.models.DeleteModelVersion, request)


def _concerns(image: object, error: errors.InvalidArgument | errors.NotFound) -> bool:
    """Whether an error is about this image alone, and not about what was asked for."""
    if error.reason in _OF_ONE_SIZE:
        return True
    if isinstance(error, errors.NotFound):
        name = image.name if isinstance(image, Asset | AssetFields) else image.uri if isinstance(image, Blob) else None
        return name is not None and error.details.get("name") == name
    return {violation.where for violation in error.violations} in ({"image"}, {"asset"}, {"blob"})
