"""Prediction on one image: decode, fit to the model's input, run, and bring the answer back to the image's pixels."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from bloomery_inference import metrics
from bloomery_inference.budget import Budget
from bloomery_inference.choosing import chosen_variant
from bloomery_inference.looking import check_tiling
from bloomery_inference.model import ModelVersion, Variant
from bloomery_inference.pacing import Pace
from bloomery_inference.question import ImageContent, Models, Options, Prediction, Question, Stopwatch
from bloomery_kit.errors import FieldViolation, InvalidArgument, ResourceExhausted
from bloomery_kit.tasks import in_thread

if TYPE_CHECKING:
    from bloomery_inference.budget import Held
    from bloomery_inference.loading import LoadedModels
    from bloomery_inference.outputs import Seen, View
    from bloomery_inference.runtime import Run, Tensors
    from bloomery_vision.interpret import Fitted

_ROOM = 64 << 20
"""Bytes that are set aside for an image of which nothing is known: enough for four million pixels."""


class Predictor:
    """Predictions behind a bounded queue: `running` at once, at most `waiting` in line.

    Fewer where they would take much longer than alone: see Pace. Together they hold
    `waiting_bytes` of encoded images, and `decoding_bytes` while images are decoded.
    """

    def __init__(
        self, models: LoadedModels, *, running: int, waiting: int, waiting_bytes: int, decoding_bytes: int
    ) -> None:
        self._models = models
        self._pace = Pace(running, running + waiting)
        self._models_in_use = metrics.ModelsInUse()
        self._admitted = 0
        self._working = 0
        self._bytes = waiting_bytes
        self._held = 0
        self._slots = asyncio.Semaphore(running)
        self._decoding = Budget(decoding_bytes)
        self._room = min(_ROOM, decoding_bytes // running)

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
                    seen = await self._see(question, image)
        return Prediction(version, variant, *seen.size, seen.found, watch.stages)

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

    async def _see(self, question: Question, image: ImageContent) -> Seen:
        """What is on an image; of the memory that it takes, what it goes on taking is held meanwhile."""
        from bloomery_inference import outputs

        run = question.models.runner(question.variant, self._working)
        content = await image.read()
        async with AsyncExitStack() as stack:
            held = await self._hold(stack, question, self._room)
            seen = await in_thread(outputs.see, content, question, self._room, run)
            if isinstance(seen, outputs.Needs):
                held.keep(0)
                held = await self._hold(stack, question, seen.decoding)
                seen = await in_thread(outputs.see, content, question, seen.decoding, None)
            if isinstance(seen, outputs.View):
                held.keep(seen.needs.looking)
                seen = await (self._at_once if seen.fitted else self._by_tiles)(question, run, seen)
        assert isinstance(seen, outputs.Seen)
        return seen

    async def _hold(self, stack: AsyncExitStack, question: Question, size: int) -> Held:
        with question.watch.measure("queue"):
            return await stack.enter_async_context(self._decoding.hold(size))

    async def _at_once(self, question: Question, run: Run | None, view: View) -> Seen:
        from bloomery_inference import outputs

        assert view.fitted
        content, options = question.version.content, question.options
        tensors = await self._infer(question, run, view.fitted)
        with question.watch.measure("postprocess"):
            found = await in_thread(outputs.shapes, content, tensors, view.fitted, question.chosen, options)
        return outputs.Seen(view.size, found)

    async def _by_tiles(self, question: Question, run: Run | None, view: View) -> Seen:
        from bloomery_inference import outputs

        assert view.pixels is not None
        content, watch = question.version.content, question.watch
        mosaic = outputs.mosaic(content, view.look.region, question.chosen, question.options)
        for tile in view.look.tiles:
            with watch.measure("preprocess"):
                fitted = await in_thread(outputs.fit, view.pixels, tile, content.input)
            tensors = await self._infer(question, run, fitted)
            with watch.measure("postprocess"):
                await in_thread(outputs.add_tile, mosaic, tensors, fitted)
        with watch.measure("postprocess"):
            found = await in_thread(outputs.as_asked, mosaic.found(), question.options)
        return outputs.Seen(view.size, found)

    async def _infer(self, question: Question, run: Run | None, fitted: Fitted) -> Tensors:
        with question.watch.measure("inference"):
            if run:
                return await in_thread(run, fitted.pixels[None])
            return await question.models.infer(question.variant, fitted.pixels[None])

    @asynccontextmanager
    async def _slot(self, watch: Stopwatch, size: int) -> AsyncIterator[None]:
        if self._admitted >= self._pace.limit or (self._held and self._held + size > self._bytes):
            self._pace.refused()
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
