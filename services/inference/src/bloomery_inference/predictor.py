"""Prediction on one image: decode, fit to the model's input, run, and bring the answer back to the image's pixels."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bloomery_inference.model import ModelVersion, Variant, VariantState
from bloomery_kit.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    PreconditionViolation,
    ResourceExhausted,
)

if TYPE_CHECKING:
    from bloomery_inference.files import ModelFiles
    from bloomery_inference.runtime import ModelRuntime
    from bloomery_vision.geometry import Found
    from bloomery_vision.interpret import Fitted


@dataclass(frozen=True)
class Options:
    """What a caller wants to see: scores from `threshold` on, boxes that overlap at most `iou`, some classes or all."""

    threshold: float
    iou: float
    classes: tuple[str, ...]
    max_shapes: int


@dataclass(frozen=True)
class Prediction:
    """The answer to one image, best first. `width` and `height` are the image's, in pixels."""

    version: ModelVersion
    variant: Variant
    width: int
    height: int
    found: tuple[Found, ...]
    milliseconds: dict[str, float]


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
            self.stages[f"{stage}_ms"] = (self.clock() - start) * 1000


class Predictor:
    """Loaded models behind a bounded queue: at most `running` predictions at once and `waiting` in line."""

    def __init__(
        self, files: ModelFiles, runtime: ModelRuntime, *, loaded_models: int, running: int, waiting: int
    ) -> None:
        self._files = files
        self._runtime = runtime
        self._loaded_models = loaded_models
        self._capacity = running + waiting
        self._admitted = 0
        self._slots = asyncio.Semaphore(running)
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._in_use: defaultdict[str, int] = defaultdict(int)

    async def predict(self, version: ModelVersion, image: bytes, options: Options) -> Prediction:
        """Predict on an encoded image.

        Raise InvalidArgument for an unreadable image or an unknown class, FailedPrecondition NO_VARIANT,
        ResourceExhausted when too many are waiting.
        """
        variant = servable(version)
        chosen = class_indices(version, options)
        watch = Stopwatch()
        with watch.measure("total"):
            async with self._slot(watch), self._using(variant.uid):
                with watch.measure("load"):
                    await self._ensure_loaded(variant)
                size, found = await self._answer(version, variant, image, chosen, options, watch)
        return Prediction(version, variant, size[0], size[1], found, watch.stages)

    async def _answer(
        self,
        version: ModelVersion,
        variant: Variant,
        image: bytes,
        chosen: tuple[int, ...] | None,
        options: Options,
        watch: Stopwatch,
    ) -> tuple[tuple[int, int], tuple[Found, ...]]:
        from bloomery_inference import outputs

        with watch.measure("decode"):
            pixels = await asyncio.to_thread(outputs.decode_image, image)
        with watch.measure("preprocess"):
            fitted: Fitted = await asyncio.to_thread(outputs.fit, pixels, version.content.input)
        with watch.measure("inference"):
            tensors = await self._runtime.infer(variant.uid, fitted.pixels[None])
        with watch.measure("postprocess"):
            found = await asyncio.to_thread(outputs.shapes, version.content, tensors, fitted, chosen, options)
        return (pixels.shape[1], pixels.shape[0]), found

    @asynccontextmanager
    async def _slot(self, watch: Stopwatch) -> AsyncIterator[None]:
        if self._admitted >= self._capacity:
            raise ResourceExhausted("TOO_MANY_PREDICTIONS", "too many predictions at once", retry_after=1.0)
        self._admitted += 1
        try:
            with watch.measure("queue"):
                await self._slots.acquire()
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._admitted -= 1

    @asynccontextmanager
    async def _using(self, uid: str) -> AsyncIterator[None]:
        self._in_use[uid] += 1
        try:
            yield
        finally:
            self._in_use[uid] -= 1
            if not self._in_use[uid]:
                del self._in_use[uid]

    async def _ensure_loaded(self, variant: Variant) -> None:
        async with self._loading[variant.uid]:
            if variant.uid not in self._recent:
                await self._runtime.load(variant.uid, await self._files.fetch(variant))
            self._recent[variant.uid] = None
            self._recent.move_to_end(variant.uid)
        for uid in [uid for uid in self._recent if uid not in self._in_use][: self._surplus()]:
            del self._recent[uid]
            self._loading.pop(uid, None)
            await self._runtime.unload(uid)

    def _surplus(self) -> int:
        return max(0, len(self._recent) - self._loaded_models)


def servable(version: ModelVersion) -> Variant:
    """The variant that answers for a version. Raise FailedPrecondition NO_VARIANT."""
    ready = [variant for variant in version.variants if variant.state is VariantState.READY]
    if ready:
        return min(ready, key=lambda variant: variant.id != "onnx-fp32")
    name = f"{version.model}@{version.number}"
    states = ", ".join(f"{variant.id} is {variant.state}" for variant in version.variants) or "it has none yet"
    fix = f"make one with `bloomery optimize {name} --to onnx`"
    raise FailedPrecondition(
        "NO_VARIANT",
        f"{name} has no variant that can predict ({states}); {fix}",
        [PreconditionViolation("NO_VARIANT", name, fix)],
    )


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
