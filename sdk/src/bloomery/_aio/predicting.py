"""Predicting on images, whoever is asked: a model version, or a deployment."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Generic, TypedDict, TypeVar, Unpack

from bloomery._aio.base import AsyncHandle
from bloomery._fields import AssetFields, Named
from bloomery._frames import Exchange, one_by_one
from bloomery._images import Blob, ImageLike, encoded
from bloomery._looking import Masks, box_of, mask_form, tiling_of
from bloomery._results import Predicted, Prediction
from bloomery.annotation.v1 import Asset
from bloomery.inference import v1 as inference

M = TypeVar("M", bound=Named)
ImageT = TypeVar("ImageT", bound=ImageLike)
_PREDICT_SECONDS = 120.0


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


class AsyncPredicting(AsyncHandle[M], Generic[M]):
    """Something that answers predictions."""

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
            # A thread for what takes time only: bytes are there already.
            given = encoded(image) if isinstance(image, bytes) else await asyncio.to_thread(encoded, image)
            source = Path(image) if isinstance(image, str | Path) else given
            request.image = given
        reply = await self._session.call(self._session.predictions.Predict, request, seconds=_PREDICT_SECONDS)
        return Prediction(reply, source)

    async def predict_each(
        self, images: Iterable[ImageT] | AsyncIterable[ImageT], **options: Unpack[PredictOptions]
    ) -> AsyncIterator[Predicted[ImageT]]:
        """Predict on images, by one stream, and yield what became of each, in their order.

        An image that cannot be read or used does not stop the others: its `error` says why.

        Args:
            images: what `predict` takes; all are listed before the first is sent.
            options: as `predict` takes them.

        Raises:
            InvalidArgument: an option is wrong.
            FailedPrecondition: the version has no READY variant; `optimize` makes one.
        """
        listed = [one async for one in images] if isinstance(images, AsyncIterable) else list(images)
        if not listed:
            return
        exchange = Exchange(self._session, self._asked(**options), one_by_one(listed))
        async with aclosing(exchange.predicted()) as found:
            async for one in found:
                yield one

    def _asked(
        self,
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
    ) -> inference.PredictRequest:
        """What to predict with, without an image."""
        request = inference.PredictRequest(
            threshold=threshold,
            iou_threshold=iou_threshold,
            classes=[self._class_of(name) for name in classes],
            max_shapes=max_shapes,
            multi_label=multi_label,
            variant=variant,
            region=None if region is None else box_of(region),
            tiling=tiling_of(tile, tile_overlap),
            masks=mask_form(masks),
        )
        self._address(request)
        return request

    def _address(self, request: inference.PredictRequest) -> None:
        """Say in a request who is asked."""
        raise NotImplementedError

    def _class_of(self, name: str) -> str:
        """The class that people mean by a name."""
        return name
