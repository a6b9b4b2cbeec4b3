"""The servicer of predictions: convert, call, convert."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from bloomery.inference.v1 import (
    PredictionServiceServicer,
    PredictRequest,
    PredictResponse,
    PredictStreamRequest,
    PredictStreamResponse,
)
from bloomery_inference import frames
from bloomery_inference.convert_predictions import predict_options, predict_response, project_asked
from bloomery_inference.images import ImageSource
from bloomery_inference.model import ModelVersion
from bloomery_inference.predictor import Predictor
from bloomery_inference.question import ImageContent, Options, Prediction
from bloomery_inference.remembered import Remembered
from bloomery_inference.serving.routing import Asked, Router
from bloomery_inference.streaming import Streams
from bloomery_kit.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[Any, Any]


class PredictionServicer(PredictionServiceServicer):
    """Prediction over gRPC."""

    def __init__(
        self,
        versions: Remembered[ModelVersion],
        images: ImageSource,
        predictor: Predictor,
        router: Router,
        streams: Streams,
    ) -> None:
        self._versions = versions
        self._images = images
        self._predictor = predictor
        self._router = router
        self._streams = streams

    async def Predict(self, request: PredictRequest, context: Context) -> PredictResponse:
        """See the contract."""
        options = predict_options(request)
        project = project_asked(request)
        image = await self._images.find(project, image=request.image, asset=request.asset, blob=request.blob)
        return predict_response(await self._answer(request, image, options, asset=request.asset))

    async def PredictStream(
        self, requests: AsyncIterator[PredictStreamRequest], context: Context
    ) -> AsyncIterator[PredictStreamResponse]:
        """See the contract."""
        asked = await frames.opening(requests)
        options = predict_options(asked, images=False)
        project = project_asked(asked)
        await self._check(asked, options)
        # Whoever waits for it knows that the options are taken.
        await context.send_initial_metadata(())

        async def answer(frame: PredictStreamRequest) -> PredictStreamResponse:
            try:
                image = await frames.image_of(frame, self._images, project)
            except (InvalidArgument, NotFound) as error:
                return frames.reply(frame, error)
            try:
                prediction = await self._answer(asked, image, options, asset=frame.asset, patient=True)
            except InvalidArgument as error:
                return frames.reply(frame, error)
            return frames.reply(frame, predict_response(prediction))

        async with aclosing(self._streams.answers(frames.frames_of(requests), answer, frames.size_of)) as answers:
            async for reply in answers:
                yield reply

    async def _answer(
        self, asked: PredictRequest, image: ImageContent, options: Options, *, asset: str, patient: bool = False
    ) -> Prediction:
        if asked.deployment:
            return await self._router.predict(Asked(asked.deployment, image, options, asset), patient=patient)
        version = await self._versions.get(asked.model_version)
        return await self._predictor.predict(version, image, options, patient=patient)

    async def _check(self, asked: PredictRequest, options: Options) -> None:
        """Raise what `_answer` would raise whatever the image is."""
        if asked.deployment:
            await self._router.question(asked.deployment, options)
        else:
            self._predictor.question(await self._versions.get(asked.model_version), options)
