"""Prediction on one image: decode, fit to the model's input, run, and bring the answer back to the image's pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bloomery_inference.budget import Budget
from bloomery_inference.choosing import chosen_variant
from bloomery_inference.model import EncodedImage, InputSpec, ModelVersion, Options, Prediction, Variant
from bloomery_kit.errors import FieldViolation, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    from bloomery_inference.loading import LoadedModels
    from bloomery_vision.geometry import Found
    from bloomery_vision.interpret import Fitted


@dataclass
class Stopwatch:
    """Milliseconds by stage."""

    clock: Callable[[], float] = time.perf_counter
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what runs inside to `stage`."""
        start = self.clock()
        try:
            yield
        finally:
            key = f"{stage}_ms"
            self.stages[key] = self.stages.get(key, 0.0) + (self.clock() - start) * 1000


class Predictor:
    """Predictions behind a bounded queue: `running` at once, `waiting` in line.

    Together they hold `waiting_bytes` of encoded images, and `decoding_bytes` while images are decoded.
    """

    def __init__(
        self, models: LoadedModels, *, running: int, waiting: int, waiting_bytes: int, decoding_bytes: int
    ) -> None:
        self._models = models
        self._capacity = running + waiting
        self._admitted = 0
        self._bytes = waiting_bytes
        self._held = 0
        self._slots = asyncio.Semaphore(running)
        self._decoding = Budget(decoding_bytes)

    async def predict(self, version: ModelVersion, image: EncodedImage, options: Options) -> Prediction:
        """Predict on an encoded image.

        Raise InvalidArgument for an unreadable image or an unknown class, NotFound for an unknown variant,
        FailedPrecondition NO_VARIANT, ResourceExhausted when too many are waiting.
        """
        variant = chosen_variant(version, options.variant, self._models.formats)
        chosen = class_indices(version, options)
        watch = Stopwatch()
        with watch.measure("total"):
            async with self._slot(watch, image.size_bytes), AsyncExitStack() as stack:
                with watch.measure("load"):
                    await stack.enter_async_context(self._models.use(variant))
                size, found = await self._answer(version, variant, image, chosen, options, watch)
        return Prediction(version, variant, size[0], size[1], found, watch.stages)

    async def _answer(
        self,
        version: ModelVersion,
        variant: Variant,
        image: EncodedImage,
        chosen: tuple[int, ...] | None,
        options: Options,
        watch: Stopwatch,
    ) -> tuple[tuple[int, int], tuple[Found, ...]]:
        from bloomery_inference import outputs

        size, fitted = await self._fitted(version, image, watch)
        with watch.measure("inference"):
            tensors = await self._models.infer(variant, fitted.pixels[None])
        with watch.measure("postprocess"):
            found = await asyncio.to_thread(outputs.shapes, version.content, tensors, fitted, chosen, options)
        return size, found

    async def _fitted(
        self, version: ModelVersion, image: EncodedImage, watch: Stopwatch
    ) -> tuple[tuple[int, int], Fitted]:
        """The width and height of an image, and what the model sees of it."""
        from bloomery_inference import outputs

        content = await image.read()
        with watch.measure("decode"):
            size = await asyncio.to_thread(outputs.decoding_bytes, content)
        async with AsyncExitStack() as stack:
            with watch.measure("queue"):
                await stack.enter_async_context(self._decoding.hold(size))
            return await asyncio.to_thread(_decoded, content, version.content.input, watch)

    @asynccontextmanager
    async def _slot(self, watch: Stopwatch, size: int) -> AsyncIterator[None]:
        if self._admitted >= self._capacity or (self._held and self._held + size > self._bytes):
            raise ResourceExhausted("TOO_MANY_PREDICTIONS", "too many predictions at once", retry_after=1.0)
        self._admitted += 1
        self._held += size
        try:
            with watch.measure("queue"):
                await self._slots.acquire()
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._admitted -= 1
            self._held -= size


def _decoded(content: bytes, spec: InputSpec, watch: Stopwatch) -> tuple[tuple[int, int], Fitted]:
    from bloomery_inference import outputs

    with watch.measure("decode"):
        pixels = outputs.decode_image(content)
    with watch.measure("preprocess"):
        return (pixels.shape[1], pixels.shape[0]), outputs.fit(pixels, spec)


def class_indices(version: ModelVersion, options: Options) -> tuple[int, ...] | None:
    """The numbers of the wanted classes, None for all. Raise InvalidArgument naming those that the model lacks."""
    if not options.classes:
        return None
    known = {name: index for index, name in enumerate(version.content.classes)}
    unknown = [name for name in options.classes if name not in known]
    if unknown:
        text = f"the model does not know {', '.join(unknown)}; its classes are {', '.join(known)}"
        raise InvalidArgument([FieldViolation("classes", text)])
    return tuple(known[name] for name in options.classes)
