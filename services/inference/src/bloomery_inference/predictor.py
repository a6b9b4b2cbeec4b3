"""Prediction on one image: decode, fit to the model's input, run, and bring the answer back to the image's pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from bloomery_inference import metrics
from bloomery_inference.budget import Budget
from bloomery_inference.choosing import chosen_variant
from bloomery_inference.looking import Look, check_tiling, look_at
from bloomery_inference.model import ImageContent, ModelVersion, Options, Prediction, RawImage, Variant
from bloomery_inference.pacing import Pace
from bloomery_kit.errors import FieldViolation, InvalidArgument, ResourceExhausted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bloomery_inference.loading import LoadedModels
    from bloomery_inference.runtime import Tensors
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


class Models(Protocol):
    """What runs models, each while it is in use."""

    def use(self, variant: Variant) -> AbstractAsyncContextManager[None]:
        """Keep a model loaded while the block runs."""
        ...

    async def infer(self, variant: Variant, images: NDArray[np.uint8]) -> Tensors:
        """Run a model that is in use on uint8 [N, H, W, 3] images."""
        ...


@dataclass(frozen=True)
class Question:
    """What is asked about an image: `chosen` are the numbers of the wanted classes, None for all."""

    models: Models
    version: ModelVersion
    variant: Variant
    chosen: tuple[int, ...] | None
    options: Options
    watch: Stopwatch


@dataclass(frozen=True)
class View:
    """An image of (width, height) `size`: `fitted` where all is seen at once, else its `pixels` uint8 [H, W, 3]."""

    size: tuple[int, int]
    look: Look
    fitted: Fitted | None = None
    pixels: NDArray[np.uint8] | None = None


class Predictor:
    """Predictions behind a bounded queue: `running` at once, at most `waiting` in line.

    Fewer where they would take much longer than alone: see Pace. Together they hold
    `waiting_bytes` of encoded images, and `decoding_bytes` while images are decoded.
    """

    def __init__(
        self, models: LoadedModels, *, running: int, waiting: int, waiting_bytes: int, decoding_bytes: int
    ) -> None:
        self._models = models
        self._pace = Pace(running + min(running, waiting), running + waiting)
        self._models_in_use = metrics.ModelsInUse()
        self._admitted = 0
        self._working = 0
        self._bytes = waiting_bytes
        self._held = 0
        self._slots = asyncio.Semaphore(running)
        self._decoding = Budget(decoding_bytes)

    async def predict(
        self, version: ModelVersion, image: ImageContent, options: Options, *, patient: bool = False
    ) -> Prediction:
        """Predict on an image.

        A `patient` caller limits itself how many wait, and how much they hold.

        Raise InvalidArgument for an unreadable image or an unknown class, NotFound for an unknown variant,
        FailedPrecondition NO_VARIANT, ResourceExhausted when too many are waiting.
        """
        return await self.answer(self.question(version, options), image, patient=patient)

    async def answer(self, question: Question, image: ImageContent, *, patient: bool = False) -> Prediction:
        """Answer a question about an image. Raise InvalidArgument, ResourceExhausted, and what its models raise."""
        version, variant, watch = question.version, question.variant, question.watch
        with self._models_in_use.measured(question), watch.measure("total"):
            slot = self._turn(watch) if patient else self._slot(watch, image.size_bytes)
            with self._paced(question):
                async with slot, AsyncExitStack() as stack:
                    with watch.measure("load"):
                        await stack.enter_async_context(question.models.use(variant))
                    view = await stack.enter_async_context(self._decoded(question, image))
                    found = await (self._at_once if view.fitted else self._by_tiles)(question, view)
        return Prediction(version, variant, view.size[0], view.size[1], found, watch.stages)

    @contextmanager
    def _paced(self, question: Question) -> Iterator[None]:
        """Let the pace learn from a prediction; what says nothing of others is left out."""
        self._working += 1
        together, start = self._working, time.perf_counter()
        try:
            yield
            together = max(together, self._working)
            spent = time.perf_counter() - start
            stages = question.watch.stages
            if question.options.tiling is None:
                own = (stages["load_ms"] + stages["decode_ms"]) / 1000
                self._pace.took(question.variant.uid, spent - own, together)
        finally:
            self._working -= 1
            metrics.LIMIT.set(self._pace.limit)

    def question(self, version: ModelVersion, options: Options) -> Question:
        """What is asked of a version about any image. Raise as `predict` where that is wrong for every image."""
        variant = chosen_variant(version, options.variant, self._models.formats)
        return self.asked_of(self._models, version, variant, options)

    @staticmethod
    def asked_of(models: Models, version: ModelVersion, variant: Variant, options: Options) -> Question:
        """What is asked of a variant of a version that `models` run. Raise InvalidArgument."""
        chosen = class_indices(version, options)
        check_tiling(version, options)
        return Question(models, version, variant, chosen, options, Stopwatch())

    async def _at_once(self, question: Question, view: View) -> tuple[Found, ...]:
        from bloomery_inference import outputs

        assert view.fitted
        content, options = question.version.content, question.options
        tensors = await self._infer(question, view.fitted)
        with question.watch.measure("postprocess"):
            return await asyncio.to_thread(outputs.shapes, content, tensors, view.fitted, question.chosen, options)

    async def _by_tiles(self, question: Question, view: View) -> tuple[Found, ...]:
        from bloomery_inference import outputs

        assert view.pixels is not None
        content, watch = question.version.content, question.watch
        mosaic = outputs.mosaic(content, view.look.region, question.chosen, question.options)
        for tile in view.look.tiles:
            with watch.measure("preprocess"):
                fitted = await asyncio.to_thread(outputs.fit, view.pixels, tile, content.input)
            tensors = await self._infer(question, fitted)
            with watch.measure("postprocess"):
                await asyncio.to_thread(outputs.add_tile, mosaic, tensors, fitted)
        with watch.measure("postprocess"):
            return await asyncio.to_thread(outputs.as_asked, mosaic.found(), question.options)

    async def _infer(self, question: Question, fitted: Fitted) -> Tensors:
        with question.watch.measure("inference"):
            return await question.models.infer(question.variant, fitted.pixels[None])

    @asynccontextmanager
    async def _decoded(self, question: Question, image: ImageContent) -> AsyncIterator[View]:
        """An image; of the memory that it took, what it goes on taking is held while the block runs."""
        from bloomery_inference import outputs

        watch, content = question.watch, await image.read()
        with watch.measure("decode"):
            needs = await asyncio.to_thread(outputs.needs, content, question.version.content, question.options)
        async with AsyncExitStack() as stack:
            with watch.measure("queue"):
                held = await stack.enter_async_context(self._decoding.hold(needs.decoding))
            view = await asyncio.to_thread(_decoded, content, question)
            held.keep(needs.looking)
            yield view

    @asynccontextmanager
    async def _slot(self, watch: Stopwatch, size: int) -> AsyncIterator[None]:
        if self._admitted >= self._pace.limit or (self._held and self._held + size > self._bytes):
            text = "too many predictions at once"
            raise ResourceExhausted("TOO_MANY_PREDICTIONS", text, retry_after=self._pace.seconds)
        self._admitted += 1
        self._held += size
        metrics.ADMITTED.set(self._admitted)
        try:
            async with self._turn(watch):
                yield
        finally:
            self._admitted -= 1
            self._held -= size
            metrics.ADMITTED.set(self._admitted)

    @asynccontextmanager
    async def _turn(self, watch: Stopwatch) -> AsyncIterator[None]:
        with watch.measure("queue"):
            await self._slots.acquire()
        metrics.RUNNING.inc()
        try:
            yield
        finally:
            metrics.RUNNING.dec()
            self._slots.release()


def _decoded(content: bytes | RawImage, question: Question) -> View:
    from bloomery_inference import outputs

    spec, watch = question.version.content.input, question.watch
    with watch.measure("decode"):
        pixels = outputs.decode_image(content)
    size = pixels.shape[1], pixels.shape[0]
    look = look_at(*size, spec, question.options)
    if len(look.tiles) > 1:
        return View(size, look, pixels=pixels)
    with watch.measure("preprocess"):
        return View(size, look, fitted=outputs.fit(pixels, look.region, spec))


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
